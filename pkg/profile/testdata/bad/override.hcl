talos {
  version = "v1.13.9"
}

image "metal" {
  override = [
    "usr/local/etc/motd",
    "/",
    "/usr/local/../etc",
    "/usr/local/etc/motd",
    "/usr/local/etc/motd",
    "",
    "/usr/local/etc/\n",
  ]
  output "iso" {}
}

image "one" {
  overide  = ["/usr/local/etc/motd"]
  override = "/usr/local/etc/motd"
  output "iso" {}
}
