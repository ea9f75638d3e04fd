talos {
  version = "v1.13.9"
}

image "metal" {
  kernel_args = [
    file("no-such-file"),
    file("."),
    templatefile("../console.tpl", {}),
    templatefile("../console.tpl", "x"),
    filee("x"),
  ]
  splash = "../console.tpl/x"
  output "iso" {}
}

image "splash" {
  splash = "."
  output "iso" {}
}
