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
          mounts:
            - source: /usr/share/agent
              destination: /data
              type: bind
              options: [rbind, ro]
        restart: always
      EOT
    }
  }
}

image "metal" {
  extensions = [extension.agent]
  output "uki" {}
}
