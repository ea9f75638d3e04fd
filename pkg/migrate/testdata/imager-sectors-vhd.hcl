# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.13.9"
}

image "azure" {
  platform = "azure"

  output "disk" {
    # No equivalent: diskSectorSize 4096. The format vhd: its disks have sectors of 512 bytes, not of 4096: take raw or
    # qcow2.
    format      = "vhd"
    compression = "zst"
  }
}
