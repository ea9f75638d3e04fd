talos {
  version  = "v1.13.9"
  registry = "registry.corp/mirror/siderolabs"
}

extension "official" {
  path = "."
  tag  = "ghcr.io/siderolabs/agent:1.4.0"
}

extension "mirrored" {
  path = "."
  tag  = "registry.corp/mirror/siderolabs/agent:1.4.0"
}

extension "untagged" {
  path = "."
  tag  = "registry.corp/agent"
}

extension "hostless" {
  path = "."
  tag  = "agent:1.4.0"
}

extension "digest" {
  path = "."
  tag  = "registry.corp/agent:1@sha256:0123456789012345678901234567890123456789012345678901234567890123"
}

extension "architecture" {
  path = "."
  tag  = "registry.corp/agent:1.4.0-${arch}"
}

extension "image" {
  image = "registry.corp/agent:1.4.0"
  tag   = "registry.corp/copy:1.4.0"
}

extension "first" {
  version = "1.4.0"
  files   = { "/usr/local/x" = { content = "" } }
  tag     = "registry.corp/agent:1.4.0"
}

extension "second" {
  path = "."
  tag  = "registry.corp/agent:1.4.0"
}

extension "list" {
  path = "."
  tag  = ["registry.corp/agent:1.4.0"]
}

image "metal" {
  output "iso" {}
}
