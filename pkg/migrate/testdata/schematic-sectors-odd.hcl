# Schematic 316aa2404d6117ad8f25973eb37d67428e5814b05c5462c201f0f76f4e2a0740 of the Image Factory, by `mage import`.
# A schematic says nothing of version, platform, architectures and outputs: look whether these are yours.

talos {
  version = "v1.13.9"
  # `mage schematic` gives another ID, 376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba: what has no
  # equivalent is told below; an order or a number may be written otherwise, too.
  embed_schematic = true
}

image "metal" {
  output "iso" {}
  output "disk" {
    # No equivalent: diskImage.sectorSize 18446744073709551615. No disk has such sectors.
  }
  output "installer" {}
}
