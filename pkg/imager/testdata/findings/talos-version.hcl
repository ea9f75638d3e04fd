talos {
  version = "v1.13.9"
}

extension "agent" {
  image = "ghcr.io/test/talos-version:1"
}

image "metal" {
  extensions = [extension.agent]
  output "uki" {}
}
