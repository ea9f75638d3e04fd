talos {
  version = "v1.13.9"
}

extension "agent" {
  image = "ghcr.io/test/setuid:1"
}

image "metal" {
  extensions = [extension.agent]
  output "uki" {}
}
