talos {
  version = "v1.13.9"
}

extension "agent" {
  version = "1"
  files = {
    "/usr/local/share/agent" = { content = "" }
  }
}

image "metal" {
  extensions = [extension.agent]
  output "disk" {}
}
