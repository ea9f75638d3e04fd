talos {
  version = "v1.13.9"
}

extension "agent" {
  version     = "1.4.0 beta"
  description = "two\nlines"
  files = {
    "usr/local/bin/agent"      = { source = "authored.hcl" }
    "/usr/local/../bin/agent"  = { source = "authored.hcl" }
    "/usr/local/bin/absent"    = { source = "no/such/file-${arch}" }
    "/usr/local/bin/both"      = { source = "authored.hcl", content = "x" }
    "/usr/local/bin/neither"   = {}
    "/usr/local/bin/string"    = "authored.hcl"
    "/usr/local/bin/unknown"   = { sorce = "authored.hcl" }
    "/usr/local/bin/mode"      = { content = "x", mode = "rwx" }
    "/usr/local/bin/setuid"    = { content = "x", mode = "4755" }
    "/usr/local/bin/writeable" = { content = "x", mode = "0777" }
  }
  service "Agent" {
    args        = "x"
    environment = ["PATH"]
    restart     = "sometimes"
    mounts      = [{ source = "/dev" }, { source = "/dev", destination = "dev" }]
    depends = [
      { network = ["adresses"] },
      { service = "cri", time = true },
      { path = "run" },
      { time = false },
      { file = "x" },
      "cri",
    ]
    security {
      masked_paths       = ["proc"]
      rootfs_propagation = "rshard"
      privileged         = true
    }
    security {
    }
  }
  service "agent" {
    entrypoint = "agent"
  }
  service "agent" {
    entrypoint = "/agent"
  }
}

extension "versionless" {
  files = { "/usr/local/x" = { content = "x" } }
}

extension "list" {
  version = "1"
  files   = ["x"]
}

image "metal" {
  extensions = [extension.agent, extension.versionless, extension.list]
  output "iso" {}
}
