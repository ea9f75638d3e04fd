# Schematic 946d42193787f5dae979e94a2233b4316a885e725b9aaeebf736f1930d0878a8 of the Image Factory, by `mage import`.
# A schematic says nothing of version, platform, architectures and outputs: look whether these are yours.

talos {
  version = "v1.13.9"
  # `mage schematic` gives another ID, a102856e7cadcb6ddde7a154804103f484d4a76e022074e48c037c031f5f9f0f: what has no
  # equivalent is told below; an order or a number may be written otherwise, too.
  embed_schematic = true
}

locals {
  # META values of the outputs that can carry some.
  meta = {
    network = "a"
    uuid    = "b"
  }
}

image "metal" {
  # No equivalent: owner "alice". It is the Enterprise Factory's.
  # No equivalent: secureboot. Images for SecureBoot are not built here.
  # No equivalent: a second META value 10. A key has one value; the one here is the first.
  # No equivalent: META value 0. META key 0: it marks the end of the list; keys are 1 to 255.
  # No equivalent: META value 17. It tells a machine which boot loader to keep, and a disk with both has it already.
  # No equivalent: META value 11. META key 11: its value has a ";", which ends a value in the kernel command line; only a
  # disk can carry it.
  # No equivalent: a second siderolabs/gvisor. An image has an extension once.
  # No equivalent: extension "gvisor". Official extensions are named as "siderolabs/gvisor".
  # No equivalent: extension "ghcr.io/siderolabs/gvisor:1". Official extensions are named as "siderolabs/gvisor".
  # No equivalent: extension "a\nb". Official extensions are named as "siderolabs/gvisor".
  extensions = ["siderolabs/gvisor"]
  # "a b" was one argument. Talos splits its command line at white space, so this is the same.
  # "" was one argument. Talos splits its command line at white space, so this is the same.
  # No equivalent: kernel argument "-". The kernel argument "-" has no name. Write NAME, NAME=VALUE or, to remove one,
  # -NAME.
  # No equivalent: kernel argument "fünf". The kernel argument "fünf" has the character 'ü' (U+00FC) in it; a command
  # line is ASCII. Is it a quotation mark or a dash from a text document?
  kernel_args = ["a", "b", "quiet", "on"]

  output "iso" {
    bootloader = "sd-boot"
    meta       = local.meta
  }
  output "disk" {
    bootloader = "sd-boot"
    meta       = local.meta
  }
  output "installer" {}
}
