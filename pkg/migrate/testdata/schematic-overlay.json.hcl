# Schematic e94d16c1667d36254b45cb151dd4ce1e1df3538d2512c0646abb15efe7cff9ca of the Image Factory, by `mage import`.
# A schematic says nothing of version, platform, architectures and outputs: look whether these are yours.

talos {
  version = "v1.13.9"
  # `mage schematic` gives the ID above, and Talos and Omni see it in images.
  embed_schematic = true
}

image "metal" {
  architectures = ["arm64"]
  kernel_args   = ["talos.config=https://example.com/?a=$${uuid}"]

  overlay {
    # An overlay brings a program of others, its installer. Images are built when it may run on this machine: run = true.
    name = "rock5b"
    options = {
      a = {
        b10 = 1
        b9  = "on"
      }
      list = [[1, 2.5], {}]
    }
  }

  output "disk" {}
  output "installer" {}
}
