talos {
  version = "v1.13.9"
}

extension "agent" {
  version = "1"
  files = {
    "/usr/local/lib/containers/agent/bin/agent" = { content = "", mode = "0755" }
    "/usr/local/etc/containers/agent.yaml" = {
      content = <<-EOT
        name: agent
        container:
          entrypoint: /bin/agent
          environment: [DEBUG]
        restart: sometimes
      EOT
    }
  }
}

image "metal" {
  extensions = [extension.agent]
  output "uki" {}
}
