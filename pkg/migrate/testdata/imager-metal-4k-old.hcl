# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.9.6"
}

image "metal" {
  output "disk" {
    # No equivalent: diskSectorSize 4096. Sectors of 4096 bytes: Talos v1.9.6 boots through grub only, which needs those of
    # 512; use v1.10.0 or newer.
    format      = "raw"
    compression = "zst"
  }
}
