talos {
  version = "v1.13.9"
}

registry "https://ghcr.io" {
}

registry "ghcr.io" {
  mirrors  = ["mirror.corp", "https://user:secret@mirror.corp", "https://mirror.corp/?a=b", "ftp://mirror.corp"]
  ca       = "no/such.pem"
  insecure = "perhaps"
  password = "secret"
}

registry "ghcr.io" {
}

image "metal" {
  output "iso" {}
}
