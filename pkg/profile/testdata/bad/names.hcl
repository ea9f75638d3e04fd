talos {
  verion  = "v1.13.9"
  version = "v1.13.9"
}

imge "typo" {
}

locals "labelled" {
  a = 1
}

image {
  output "iso" {}
}

image "metal" "second" {
  platfrom   = "metal"
  extentions = []
  output     = "iso"
  kernel_args "x" {
  }
  validation {
  }
  output "iso" {
    size        = "8GiB"
    compresion  = "none"
    tag         = "registry.corp/x:1"
    label       = "x"
  }
  output "isso" {
    size = "8GiB"
  }
  output "disk" {
    sise       = "8GiB"
    secureboot = true
    security {}
  }
}

image ".hidden" {
  output "iso" {}
}

talos {
  version = "v1.13.9"
}

stray = true
