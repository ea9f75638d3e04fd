talos {
  version = "v1.13.9"
}

image "_a" {
  inherits   = ["_c"]
  extensions = ["siderolabs/gvisor"]
}

image "_b" {
  inherits = ["_a"]
}

image "_c" {
  inherits = ["_b"]
}

image "_self" {
  inherits = ["_self"]
}

image "metal" {
  inherits   = ["_a", "_bsae", "metal"]
  extensions = ["siderolabs/gvisor"]
  output "iso" {}
}

image "_base" {
  platform = "mettal"
}
