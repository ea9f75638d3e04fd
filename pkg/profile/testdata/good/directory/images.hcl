image "metal" {
  kernel_args = ["console=${console}", "extra=${local.extra}"]
  extensions  = [extension.motd]
  output "iso" {}
}
