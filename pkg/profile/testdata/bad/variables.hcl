# env: replicas=three
# env: debug=maybe
# env: consoles=["ttyS0"
# env: level=9
talos {
  version = "v1.13.9"
}

variable "unset" {
}

variable "replicas" {
  type    = number
  default = 3
}

variable "debug" {
  default = false
}

variable "consoles" {
  default = ["ttyS0"]
}

variable "wrong" {
  type    = list(string)
  default = "ttyS0"
}

variable "kind" {
  type = strin
}

variable "level" {
  type    = number
  default = 1
  validation {
    condition     = level < 5
    error_message = "The level is from 0 to 4."
  }
  validation {
    condition     = "perhaps"
    error_message = "x"
  }
  validation {
    error_message = "x"
  }
}

variable "tone" {
  default = "x"
  validation {
    condition     = tone == "y"
    error_message = "be kind"
  }
}

variable "local" {
  default = "x"
}

variable "1st" {
  default = "x"
}

image "metal" {
  kernel_args = [
    "a=${consle}",
    "b=${var.debug}",
    "c=${arch}",
    "d=${local.nope}",
    "e=${local}",
    "f=${unset}",
    "g=${replicas}",
    upper(nosuch),
    uper("x"),
    timestamp(),
  ]
  output "iso" {}
}
