talos {
  version  = "v1.13.9"
  registry = "mirror.corp/siderolabs"
}

image "untagged" {
  output "installer" {
    tag = "registry.corp/talos/installer"
  }
}

image "digest" {
  output "installer" {
    tag = "registry.corp/talos/installer:v1@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  }
}

image "upper" {
  output "installer" {
    tag = "registry.corp/Talos:v1"
  }
}

image "hostless" {
  output "installer" {
    tag = "installer:v1"
  }
}

image "docker" {
  output "installer" {
    tag = "corp/installer:v1"
  }
}

image "long" {
  output "installer" {
    tag = "registry.corp/installer:${join("", [for i in range(129): "x"])}"
  }
}

image "official" {
  output "installer" {
    tag = "ghcr.io/siderolabs/installer:v1.13.9"
  }
}

image "mirror" {
  output "installer" {
    tag = "mirror.corp/siderolabs/installer:v1.13.9"
  }
}

image "one" {
  output "installer" {
    tag = "registry.corp/installer:v1.13.9"
  }
}

image "other" {
  output "installer" {
    tag = "registry.corp/installer:v1.13.9"
  }
}

image "host_in_capitals" {
  output "installer" {
    tag = "Corp/installer:v1-RC"
  }
}
