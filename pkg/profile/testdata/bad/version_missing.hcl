talos {
}

image "metal" {
  output "iso" {}
}
