talos {
  version = "v1.11.3"
}

image "meta" {
  meta = {
    12       = "a"
    user1    = "b"
    netwrk   = "c"
    300      = "d"
    0        = "e"
    network  = ["f"]
    url_code = "x;y"
  }
  output "installer" {}
}

image "twice" {
  meta = {
    12   = "a"
    12   = "b"
    "0x0c" = "c"
  }
  output "disk" {}
}

image "no_object" {
  meta = "network"
  output "iso" {}
}

image "installer" {
  meta = { user1 = "a" }
  output "installer" {}
  output "disk" {
    meta = { disk_bootloader = "dual-boot" }
  }
  output "iso" {
    meta = { 12 = "a;b" }
  }
  output "kernel" {
    meta = { 12 = "a" }
  }
}

image "config" {
  embedded_config = "controlplane.yaml"
  output "iso" {}
}

image "config_old" {
  embedded_config = "version: v1alpha1"
  image_cache     = "."
  output "installer" {}
}

image "config_yaml" {
  embedded_config = "version: v1alpha1\n\tsecret: x"
  output "iso" {}
}

image "disks" {
  output "disk" {
    format = "qcow3"
  }
  output "disk" {
    format = "vhd"
    size   = 8589935104
  }
  output "disk" {
    format = "ova"
    size   = 8589935104
  }
  output "disk" {
    format      = "qcow2"
    compression = "tar.gz"
  }
  output "disk" {
    size        = "2GiB"
    compression = "zip"
  }
  output "disk" {
    size = "4GiB"
  }
}

image "overlay" {
  overlay {
    path    = "."
    image   = "registry.example.com/overlay:1"
    options = "x"
  }
  output "pxe" {
    base_url = "boot.corp/talos"
  }
  output "pxe" {
    base_url = "http://boot.corp/talos?x"
  }
}
