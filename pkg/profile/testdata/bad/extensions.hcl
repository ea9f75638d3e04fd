talos {
  version = "v1.13.9"
}

extension "motd" {
  path = "../good/examples/motd"
}

extension "none" {
}

extension "two" {
  path  = "../good/examples/motd"
  image = "registry.corp/talos/agent:1.4.0"
}

extension "mixed" {
  path    = "../good/examples/motd"
  version = "1.0.0"
  service "x" {
    entrypoint = "/x"
  }
}

extension "motd" {
  tarball = "motd.tar"
}

extension "bad name" {
  image = "registry.corp/agent:1"
}

extension "untagged" {
  image = "registry.corp/talos/agent"
}

extension "hostless" {
  image = "talos/agent:1.4.0"
}

extension "upper" {
  image = "registry.corp/Talos/agent:1.4.0"
}

extension "absent" {
  path = "no/such/directory"
}

extension "ambiguous" {
  tarball = "v*.hcl"
}

extension "unmatched" {
  tarball = "dist/agent-${arch}-*.tar"
}

extension "file" {
  path = "extensions.hcl"
}

image "metal" {
  extensions = [
    "gvisor",
    "motd",
    "siderolabs/gvisor",
    "siderolabs/gvisor",
    extension.mtod,
    "extension.motdd",
    "corp/agent",
    "ghcr.io/siderolabs/gvisor:20240101.0",
    "",
  ]
  output "iso" {}
}

image "arches" {
  architectures = ["arm64"]
  extensions    = [extension.motd, extension.absent, extension.ambiguous, extension.unmatched, extension.file, extension.motd, motd]
  output "iso" {}
}

extension "empty" {
  version     = "1.0.0"
  description = "nothing in it"
}
