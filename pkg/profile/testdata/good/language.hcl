# env: replicas=5
# env: consoles=["ttyS0", "ttyS1"]
# env: debug=true
# env: settings={ level = "warn" }
talos {
  version  = "1.13.9"
  registry = "registry.corp/siderolabs"
}

variable "replicas" {
  type    = number
  default = 1
  validation {
    condition     = replicas > 0 && replicas < 10
    error_message = "There are from one to nine replicas."
  }
}

variable "consoles" {
  type    = list(string)
  default = []
}

variable "debug" {
  default = false
}

variable "settings" {
  type    = map(string)
  default = {}
}

variable "nothing" {
  default = null
}

locals {
  microcode = ["siderolabs/intel-ucode", "siderolabs/amd-ucode"]
  quiet     = debug ? [] : ["quiet"]
  version   = regex("^v?([0-9]+\\.[0-9]+)", "v1.13.9")[0]
}

extension "motd" {
  path = "examples/mot?"
}

extension "agent" {
  image = "registry.corp/talos/agent:${local.version}-${arch}"
}

image "_base" {
  extensions  = concat(local.microcode, [extension.motd])
  kernel_args = local.quiet
  output "iso" {}
  output "disk" {
    size = "8GiB"
  }
}

image "_audit" {
  inherits    = ["_base"]
  kernel_args = ["audit=1"]
}

# A diamond: _base counts once.
image "server" {
  inherits      = ["_audit", "_base"]
  platform      = nothing
  architectures = ["amd64", "arm64"]
  extensions    = [extension.agent, debug ? "siderolabs/gvisor-debug" : "siderolabs/gvisor"]
  kernel_args   = [for i in range(replicas): "replica=${i}" if i > 2]
  output "disk" {
    compression = "none"
  }
  output "installer" {}
}

image "console" {
  name     = "console-${console}-${mode}"
  matrix   = { console = consoles, mode = ["a", "b"] }
  inherits = ["_audit"]
  platform = "nocloud"
  kernel_args = compact([
    trimspace(templatefile("../console.tpl", { console = console })),
    "settings=${lookup(settings, "level", "none")}",
    mode == "a" ? "" : "mode=${upper(mode)}",
    trimspace(file("argument.txt")),
  ])
  output "disk" {
    size = 8589934592
  }
}
