# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.14.0"
}

image "metal" {
  output "disk" {
    format      = "raw"
    compression = "zst"
    sector_size = 4096
  }
}
