talos {
  version  = "v1.13"
  registry = "siderolabs"
}

image "types" {
  platform      = "mettal"
  architectures = ["amd46", "arm64", "arm64"]
  extensions    = "siderolabs/gvisor"
  kernel_args   = { console = "ttyS0" }
  output "iso" {}
}

image "null" {
  platform      = null
  architectures = [null]
  extensions    = [["siderolabs/gvisor"]]
  kernel_args   = [1, true]
  output "iso" {}
}

image "platform" {
  platform      = "packet machine"
  architectures = ["amd64", "arm64", "amd64"]
  output "installer" {
    tag = ["a"]
  }
}
