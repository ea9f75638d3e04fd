talos {
  version       = "1.99.0"
  allow_unknown = true
}

image "metal" {
  output "iso" {}
}
