# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.13.9"
}

base {
  name   = "ACME OS"
  kernel = "kernel"
}

image "metal" {
  # No equivalent: secureboot. Images for SecureBoot are not built here.
  image_cache = "cache"

  output "iso" {
    # No equivalent: sdBootEnrollKeys "force". Keys for SecureBoot are not enrolled here.
    bootloader = "sd-boot"
  }
}
