talos {
  version = "v1.13.9"
}

locals {
  long     = join("", [for i in range(1000): "01234567890123456789012345678901234567890123456789"])
  wide     = format("%999999999s", "x")
  indented = indent(999999999, "a\nb")
  replaced = replace(local.long, "", local.long)
  joined   = join(local.long, range(1000))
  product  = setproduct(range(1000), range(1000), range(1000))
}

image "metal" {
  output "iso" {}
}
