talos {
  version = "v1.14.0-beta.1"
}

image "_base" {
  splash   = "splash.bmp"
  override = ["/usr/local/etc/motd"]
  output "iso" {}
  output "disk" {
    size = "8GiB"
  }
}

image "all" {
  inherits = ["_base"]
  override = ["/usr/local/share/agent"]
  output "uki" {}
  output "initramfs" {}
  output "kernel" {}
  output "cmdline" {}
  output "installer" {
    tag = "localhost:5000/talos:all"
  }
}

image "sectors" {
  output "disk" {
    sector_size = 4096
  }
}
