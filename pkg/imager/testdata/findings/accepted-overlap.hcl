talos {
  version = "v1.13.9"
}

image "metal" {
  extensions = ["siderolabs/gvisor", "siderolabs/gvisor-debug"]
  output "uki" {}
}
