talos {
  version = "v1.13.9"
}

image "_site" {
  name        = "_site-${site.name}"
  matrix      = { site = [{ name = "north", args = ["dns=1.1.1.1"] }, { name = "south", args = [] }] }
  kernel_args = site.args
  output "installer" {
    tag = "registry.corp/talos/${site.name}:v1"
  }
}

image "server" {
  name        = "server-${where}"
  matrix      = { where = ["north", "south"] }
  inherits    = ["_site-${where}"]
  kernel_args = ["site=${where}"]
  output "iso" {}
}

# An image that is built can be inherited from, too.
image "spare" {
  inherits = ["server-north"]
  output "installer" {
    tag = "registry.corp/talos/spare:v1"
  }
}
