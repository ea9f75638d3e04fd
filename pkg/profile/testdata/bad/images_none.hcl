talos {
  version = "v1.13.9"
}

image "_base" {
  output "iso" {}
}
