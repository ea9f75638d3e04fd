talos {
  version = "v1.13.9"
}

image "metal" {
  extensions = []
  kernel_args = [
    "talos.hotsname=worker-1", "-init_on_aloc",
    "talos.platfrom=metal",
  ]
  output "uki" {}
}
