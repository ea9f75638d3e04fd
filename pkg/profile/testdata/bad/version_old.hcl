talos {
  version = "v1.4.8"
}

image "metal" {
  output "iso" {}
}
