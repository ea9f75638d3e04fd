talos {
  version = "v1.9.6"
}

image "metal" {
  architectures = ["amd64", "arm64"]
  output "disk" {
    sector_size = 4096
  }
}
