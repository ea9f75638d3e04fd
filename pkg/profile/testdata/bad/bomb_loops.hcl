talos {
  version = "v1.13.9"
}

locals {
  many = [for a in range(1000): [for b in range(1000): [for c in range(1000): a]]]
}

image "metal" {
  kernel_args = ["x=${length(local.many)}"]
  output "iso" {}
}
