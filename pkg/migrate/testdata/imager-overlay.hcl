# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.13.9"
}

image "metal" {
  architectures = ["arm64"]

  overlay {
    # An overlay brings a program of others, its installer. Images are built when it may run on this machine: run = true.
    # It was "ghcr.io/siderolabs/sbc-raspberrypi:v0.2.0". The catalogue of Talos v1.13.9 gives its version here, and `mage
    # lock` pins it.
    # The base profile "rpi_generic" was the overlay's; what it says of disks is taken from it here, too.
    name = "rpi_generic"
    options = {
      configTxtAppend = "dtoverlay=vc4-kms-v3d\n"
      numbers         = [1, 1.5, -3, 1000000000000000000000000000000, null, true]
    }
  }

  output "disk" {
    format      = "raw"
    compression = "xz"
  }
}
