talos {
  version = "v1.13.9"
}

image "nameless" {
  matrix = { console = ["ttyS0"] }
  output "iso" {}
}

image "pointless" {
  name = "x"
  output "iso" {}
}

image "scalar" {
  name   = "scalar-${console}"
  matrix = { console = "ttyS0" }
  output "iso" {}
}

image "empty" {
  name   = "empty"
  matrix = {}
  output "iso" {}
}

image "same" {
  name   = "same"
  matrix = { console = ["ttyS0", "ttyS1"] }
  output "iso" {}
}

image "huge" {
  name   = "huge-${a}-${b}"
  matrix = { a = range(100), b = range(100) }
  output "iso" {}
}

image "bad" {
  name   = "bad ${a}"
  matrix = { a = ["x"] }
  output "iso" {}
}

image "reserved" {
  name   = "reserved-${arch}"
  matrix = { arch = ["amd64"] }
  output "iso" {}
}
