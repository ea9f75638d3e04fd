talos {
  version = "v1.13.9"
}

image "both" {
  architectures = ["amd64", "arm64"]
  output "iso" {
    bootloader = "dual-boot"
  }
  output "disk" {
    bootloader = "grub"
    size       = "2GiB"
  }
}

image "arm" {
  architectures = ["arm64"]
  output "disk" {
    bootloader = "dual-boot"
  }
  output "iso" {
    bootloader = "grub2"
  }
}
