talos {
  version = "1.99.0"
}

image "metal" {
  output "iso" {}
}
