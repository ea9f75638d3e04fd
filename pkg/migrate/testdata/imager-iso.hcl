# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.13.9"
}

extension "agent" {
  image = "registry.corp/talos/agent:1.4.0"
}

image "metal" {
  # siderolabs/gvisor was
  # "ghcr.io/siderolabs/gvisor:20260202.0@sha256:548b2b121611424f6b1b6cfb72a1669421ffaf2f1560911c324a546c7cee655e". The
  # catalogue of Talos v1.13.9 gives its version here, and `mage lock` pins it.
  # siderolabs/intel-ucode was "ghcr.io/siderolabs/intel-ucode:20260227". The catalogue of Talos v1.13.9 gives its version
  # here, and `mage lock` pins it.
  extensions  = ["siderolabs/gvisor", "siderolabs/intel-ucode", extension.agent]
  kernel_args = ["net.ifnames=0", "console=ttyS0"]

  output "iso" {
    bootloader = "dual-boot"
  }
}
