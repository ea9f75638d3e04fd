talos {
  version = "v1.13.9"
}

extension "first" {
  version = "1"
  files   = { "/usr/local/share/x" = { content = "first" } }
}

extension "second" {
  version = "1"
  files   = { "/usr/local/share/x" = { content = "first" } }
}

image "metal" {
  extensions = [extension.first, extension.second]
  override   = ["/usr/local/share/x"]
  output "uki" {}
}
