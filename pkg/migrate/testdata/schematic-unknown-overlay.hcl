# Schematic a46c9bfeff732b1d27b7925f2de00ebfcd8d3669f18cdcb116d8a434ff818b19 of the Image Factory, by `mage import`.
# A schematic says nothing of version, platform, architectures and outputs: look whether these are yours.

talos {
  # No equivalent: the schematic itself, embed_schematic = true. The image of the overlay belongs to it, and is not known
  # here. Unknown overlay "rock9": did you mean "rock3b"?
  version = "v1.13.9"
}

image "metal" {
  architectures = ["arm64"]

  overlay {
    # An overlay brings a program of others, its installer. Images are built when it may run on this machine: run = true.
    name = "rock9"
  }

  output "disk" {}
  output "installer" {}
}
