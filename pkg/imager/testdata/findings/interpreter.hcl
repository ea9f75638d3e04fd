talos {
  version = "v1.13.9"
}

extension "agent" {
  version = "1"
  files = {
    "/usr/local/bin/agent" = { content = "#!/bin/bash\n", mode = "0755" }
  }
}

image "metal" {
  extensions = [extension.agent]
  output "uki" {}
}
