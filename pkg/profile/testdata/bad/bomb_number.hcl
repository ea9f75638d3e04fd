talos {
  version = "v1.13.9"
}

image "metal" {
  kernel_args = ["n=${1e99999999}"]
  output "iso" {}
}
