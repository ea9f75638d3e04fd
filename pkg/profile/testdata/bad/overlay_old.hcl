talos {
  version = "v1.6.8"
}

base {
  name    = "-"
  version = "v1.6.8-${arch}"
  kernel  = "nowhere"
}

image "rpi" {
  architectures = ["arm64"]
  overlay {
    name = "rpi_generic"
  }
  image_cache = "."
  output "pxe" {}
  output "disk" {}
}
