# What talosmith builds here: `go tool mage all`. docs/profile.md tells every block and attribute.

talos {
  version = "v1.13.9"
}

variable "console" {
  description = "serial console of our machines"
  default     = "ttyS0" # overridden by the environment variable `console`
}

# Anything that is not in the official catalogue: a directory here; an image, a tarball or an OCI layout elsewhere.
extension "motd" {
  path = "examples/motd"
}

image "metal" {
  extensions = [
    "siderolabs/amd-ucode",
    "siderolabs/intel-ucode",
    "siderolabs/realtek-firmware",
    "siderolabs/btrfs",
    "siderolabs/crun",
    "siderolabs/fuse3",
    "siderolabs/gvisor",
    "siderolabs/tailscale",
    extension.motd,
  ]
  kernel_args = ["console=${console}", "-init_on_alloc"]

  output "iso" {}
  output "disk" {
    size        = "8GiB"
    compression = "none"
  }
  output "installer" {
    tag = "registry.example.com/talos/installer:v1.13.9-metal"
  }
}
