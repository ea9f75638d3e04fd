talos {
  version = "v1.13.9"
  effort  = "smal"
}

image "metal" {
  effort = "small"
  output "iso" {}
}
