talos {
  version = "v1.13.9"
}

extension "agent" {
  version = "1"
  files = {
    "/usr/local/etc/containers/agent.yml" = { content = "name: agent" }
  }
}

image "metal" {
  extensions = [extension.agent]
  output "uki" {}
}
