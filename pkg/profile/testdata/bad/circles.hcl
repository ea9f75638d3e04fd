talos {
  version = "v1.13.9"
}

variable "a" {
  default = "${local.b}"
}

locals {
  b    = [for x in [1]: local.c]
  c    = a
  self = local.self
}

image "metal" {
  kernel_args = ["x=${a}"]
  output "iso" {}
}
