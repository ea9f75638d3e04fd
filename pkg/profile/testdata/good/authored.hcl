talos {
  version = "v1.13.9"
}

extension "agent" {
  version     = "1.4.0"
  description = "corporate agent"
  tag         = "registry.corp/agent:1.4.0"
  files = {
    "/usr/local/lib/containers/agent/agent" = { source = "bin/agent-${arch}", mode = "0755" }
    "/usr/local/etc/agent.conf"             = { content = "arch = ${arch}\n" }
  }
  service "agent" {
    entrypoint  = "/agent"
    args        = ["-v"]
    environment = ["A=b=c"]
    depends     = [{ network = ["addresses"] }, { service = "cri" }, { path = "/run/x" }, { time = true }, { configuration = true }]
    mounts      = [{ source = "/dev", destination = "/dev", options = ["rbind", "rw"] }, { source = "/etc", destination = "/etc" }]
    security {
      writeable_rootfs   = true
      rootfs_propagation = "rshared"
    }
  }
}

# Used for amd64 only: there is no bin/agent-arm64.
image "metal" {
  extensions = [extension.agent]
  output "iso" {}
}
