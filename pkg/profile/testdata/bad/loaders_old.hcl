talos {
  version = "v1.9.6"
}

image "metal" {
  output "iso" {
    bootloader = "sd-boot"
  }
  output "disk" {
    bootloader = "dual-boot"
    size       = "1GiB"
  }
}

image "default" {
  output "disk" {
    size = "1GiB"
  }
}
