talos {
  version = "v1.13.9"                    # required; "1.13.9" is accepted too
  # registry = "ghcr.io/siderolabs"      # where imager, installer-base, extensions, overlays come from
  # allow_unknown = true                 # a version newer than we know: newest rules, with a warning
}

variable "console" {
  description = "serial console of our machines"
  default     = "ttyS0"                  # overridden by the environment variable `console`, as in docker buildx bake
}

extension "motd" {                       # anything that is not in the official catalogue
  path = "examples/motd"                 # or image = "registry.corp/talos/agent:1.4.0", tarball = "…", oci_layout = "…"
}

image "metal" {
  platform      = "metal"                # default
  architectures = ["amd64"]              # default
  extensions    = ["siderolabs/gvisor", "siderolabs/intel-ucode", extension.motd]
  kernel_args   = ["console=${console}", "-init_on_alloc"]

  output "iso" {}
  output "disk" {
    size        = "8GiB"
    compression = "none"
  }
  output "installer" {
    tag = "registry.example.com/talos/installer:v1.13.9-metal"
  }
}
