talos {
  version = "v1.13.9"
}

image "ali" {
  platform = "alibabacloud"
  output "iso" {}
}
