# Schematic 07d84585ec0d61f09477ee8cee2984d3b303114a7ade963bc8208c257d4dd98d of the Image Factory, by `mage import`.
# A schematic says nothing of version, platform, architectures and outputs: look whether these are yours.

talos {
  version = "v1.13.9"
  # `mage schematic` gives the ID above, and Talos and Omni see it in images.
  embed_schematic = true
}

image "metal" {
  output "iso" {}
  output "disk" {
    sector_size = 512
  }
  output "installer" {}
}
