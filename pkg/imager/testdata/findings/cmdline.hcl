talos {
  version = "v1.13.9"
}

image "metal" {
  extensions  = []
  kernel_args = [for i in range(1, 900) : "a${i}"]
  output "uki" {}
}
