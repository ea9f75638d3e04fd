talos {
  version = "v1.13.9"
}

store {
  registry = "registry.corp/cache/talosmith:v1"
  write    = null
}

image "metal" {
  output "iso" {}
}
