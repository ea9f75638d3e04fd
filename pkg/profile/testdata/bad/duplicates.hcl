talos {
  version = "v1.13.9"
}

variable "console" {
  default = "ttyS0"
}

variable "console" {
  default = "ttyS1"
}

locals {
  a = 1
}

locals {
  a = 2
}

image "metal" {
  output "iso" {}
  output "iso" {}
}

image "metal" {
  output "disk" {}
}

image "Metal" {
  output "iso" {}
}

image "empty" {
}

image "_base" {
}
