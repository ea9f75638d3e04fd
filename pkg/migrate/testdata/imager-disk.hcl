# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.13.9"
}

image "azure" {
  # No equivalent: imageCache "registry.corp/cache:1". It is taken from an OCI layout here, as `talosctl images
  # cache-create` writes it: image_cache = "PATH".
  platform = "azure"

  overlay {
    # An overlay brings a program of others, its installer. Images are built when it may run on this machine: run = true.
    # No equivalent: overlayInstaller "x". An installer gets the overlay's own image here, for its architecture.
    # No equivalent: options. It has a date or something else that JSON has not.
    name       = "default"
    oci_layout = "overlay"
  }

  output "disk" {
    # No equivalent: outFormat ".tar.gz". Archives of disks hold raw ones.
    # No equivalent: diskSectorSize 4096. Sectors of 4096 bytes: boot loader grub needs those of 512; use sd-boot.
    # No equivalent: diskFormatOptions "cluster_size=64k". A format is written in one way here.
    bootloader  = "grub"
    format      = "qcow2"
    compression = "none"
  }
}
