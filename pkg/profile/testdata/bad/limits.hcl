# One over each limit, and the characters that a value can't have.
talos {
  version  = "v1.13.9"
  registry = "ghcr.io/${join("", [for i in range(505) : "a"])}"
}

base {
  name      = join("", [for i in range(65) : "a"])
  version   = "1.13.9+acme"
  registry  = "ghcr.io"
  kernel    = ""
  initramfs = "."
  sd_boot   = "${local.kib}${local.kib}${local.kib}${local.kib}"
  sd_stub   = "no\u0000where"
}

variable "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
  default = 1
}

locals {
  kib   = join("", [for i in range(1024) : "a"])
  kib32 = join("", [for i in range(32) : local.kib])
  café  = 1
}

extension "agent" {
  version     = join("", [for i in range(101) : "1"])
  description = join("", [for i in range(501) : "a"])
  author      = "two\nlines"
  files       = { for i in range(1001) : "/usr/local/share/${i}" => { content = "" } }
  service "agent" {
    entrypoint       = "/../agent"
    args             = ["fine", "nul\u0000", "${local.kib32}${local.kib32}${local.kib32}${local.kib32}"]
    environment      = ["9=x", "A=${local.kib32}"]
    environment_file = "environment"
    mounts = [
      { source = "", destination = "/a" },
      { source = "/dev\n", destination = "/dev/" },
      { source = "tmpfs", destination = "/tmp", type = "Tmp FS", options = ["rw,size=64m", ""] },
    ]
    depends = [{ service = "ext-Agent" }, { path = "/run/../x" }, { network = ["up", "down"] }]
    security {
      readonly_paths = ["/proc", "sys"]
    }
  }
  service "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
    entrypoint = "/other"
  }
}

extension "mounts" {
  version = "1.0.0"
  service "mounts" {
    entrypoint = "/mounts"
    mounts     = [for i in range(1001) : { source = "/dev", destination = "/dev" }]
    depends    = [for i in range(1001) : { time = true }]
  }
}

extension "layout" {
  oci_layout = "limits:v1"
}

registry "registry.corp" {
  mirrors     = ["https://${join("", [for i in range(1017) : "a"])}"]
  client_cert = "limits.pem"
  client_key  = "."
}

image "metal" {
  extensions  = [extension.agent, extension.mounts, extension.layout]
  image_cache = "limits@sha256:0"
  kernel_args = ["${local.kib}${local.kib}"]
  splash      = "limits.bmp"
  override    = ["/${local.kib32}"]
  overlay {
    name = "rpi generic"
  }
  output "disk" {
    bootloader = "lilo"
  }
  output "installer" {
    tag = "registry.corp/${join("", [for i in range(500) : "a"])}:v1"
  }
  output "pxe" {
    base_url = "http://${join("", [for i in range(1018) : "a"])}"
  }
}

image "overlays" {
  architectures = ["arm64"]
  overlay {
    name    = "rpi_generic"
    image   = "ghcr.io/siderolabs/sbc-raspberrypi"
    options = { list = [for i in range(101) : range(100)] }
  }
  output "disk" {}
}

image "overlay_path" {
  meta = { user1 = join("", [for i in range(8) : local.kib32]) }
  overlay {
    name = "rpi_generic"
    path = "limits.hcl"
  }
  output "disk" {}
}

image "overlay_tarball" {
  overlay {
    name    = "rpi_generic"
    tarball = "."
  }
  output "disk" {}
}

image "overlay_layout" {
  overlay {
    name       = "rpi_generic"
    oci_layout = "limits"
  }
  output "disk" {}
}
