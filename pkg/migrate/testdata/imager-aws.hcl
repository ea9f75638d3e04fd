# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.12.4"
}

image "aws" {
  platform      = "aws"
  architectures = ["arm64"]
  # It may hold secrets: think before this is committed. embedded_config = file("controlplane.yaml") takes it from a file.
  embedded_config = <<EOT_
version: v1alpha1
machine:
  install:
    image: "$${image} %%{if} \\d $$${x}"
  files: |
    EOT
EOT_
  meta = {
    network = "addresses:\n  - address: 10.0.0.2/24\n"
    200     = "x"
  }

  output "disk" {
    format      = "raw"
    compression = "zst"
    # The imager adds 1048576000 bytes to its diskSize, 10737418240, since partitions have grown.
    size = "11240MiB"
  }
}
