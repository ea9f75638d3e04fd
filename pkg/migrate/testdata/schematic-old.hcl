# Schematic 5fa61eb47fa7a34dbfd8194eca2b1c28f66f80628903a5144bf94ed94bd31ecb of the Image Factory, by `mage import`.
# A schematic says nothing of version, platform, architectures and outputs: look whether these are yours.

talos {
  version = "v1.6.8"
  # `mage schematic` gives another ID, 376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba: what has no
  # equivalent is told below; an order or a number may be written otherwise, too.
  embed_schematic = true
}

image "metal" {
  # No equivalent: embedded machine configuration. Talos v1.6.8 does not look for one.
  # No equivalent: overlay "rpi_generic". Talos v1.6.8 has no overlays.
  architectures = ["arm64"]

  output "disk" {
    # No equivalent: boot loader "dual-boot". Boot loader dual-boot: arm64 has no BIOS; use grub.
  }
  output "installer" {}
}
