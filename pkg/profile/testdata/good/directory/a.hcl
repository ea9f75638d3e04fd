talos {
  version = "v1.13.9"
}

variable "console" {
  default = "ttyS0"
}
