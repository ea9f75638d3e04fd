talos {
  version = "v1.13.9"
}

store "here" {
  write = "sometimes"
  size  = "1GiB"
}

store {
  registry = "registry.corp"
}

image "metal" {
  output "iso" {}
}
