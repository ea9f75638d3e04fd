talos {
  version = "v1.13.9"
}

registry "ghcr.io" {
  mirrors     = ["https://mirror.corp/ghcr", "http://127.0.0.1:5000/ghcr"]
  ca          = "corp.pem"
  client_cert = "corp.pem"
  client_key  = "corp.pem"
}

registry "registry.corp:5000" {
  insecure = true
}

store {
  registry = "registry.corp:5000/cache/talosmith"
  write    = true
}

image "metal" {
  output "iso" {}
}
