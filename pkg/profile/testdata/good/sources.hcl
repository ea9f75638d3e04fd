talos {
  version = "v1.13.9"
}

extension "each" {
  tarball = "dist/agent-*.tar"
}

extension "literal" {
  tarball = "dist/x[1].tar"
}

extension "newest" {
  tarball = "dist/one-*.tar"
}

extension "whole" {
  oci_layout = "layouts/*"
}

extension "tagged" {
  oci_layout = "layouts/agent:v1"
}

extension "pinned" {
  oci_layout = "layouts/agent@sha256:0123456789012345678901234567890123456789012345678901234567890123"
}

extension "archive" {
  oci_layout = "dist/*-amd64.tar:v1"
}

image "metal" {
  architectures = ["amd64", "arm64"]
  extensions    = [for e in ["each", "literal", "newest", "whole", "tagged", "pinned", "archive"] : "extension.${e}"]
  output "iso" {}
}
