talos {
  version = "v1.13.9"
}

image "metal" {
  kernel_args = [
    "",
    "console=ttyS0 quiet",
    "console=ttyS0\n",
    "dyndbg=\"file x.c +p\"",
    "a=\"b",
    "nul=\u0000",
    "quote=“x”",
    "–dash",
    "-",
    "=value",
    "fine",
    "fine=\"quoted\"",
    join("", [for i in range(1000): "too-long"]),
  ]
  output "iso" {}
}
