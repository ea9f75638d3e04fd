talos {
  version = "v1.13.9"
}

extension "agent" {
  version = "1"
  files = {
    "/opt/agent"             = { content = "" }
    "/usr/local2/agent"      = { content = "" }
    "/usr/bin/nvidia-smi-x"  = { content = "" }
    "/usr/local/share/agent" = { content = "" }
  }
}

image "metal" {
  extensions = [extension.agent]
  output "uki" {}
}
