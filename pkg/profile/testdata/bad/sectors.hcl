talos {
  version = "v1.14.0-beta.1"
}

image "other" {
  output "disk" {
    sector_size = 520
  }
}

image "unit" {
  output "disk" {
    sector_size = "4KiB"
  }
}

image "huge" {
  output "disk" {
    sector_size = 1e300
  }
}

image "iso" {
  output "iso" {
    sector_size = 4096
  }
}

image "grub" {
  output "disk" {
    bootloader  = "grub"
    sector_size = 4096
  }
}

image "odd" {
  output "disk" {
    sector_size = 4096
    size        = 8000000512
  }
}

image "azure" {
  platform = "azure"
  output "disk" {
    sector_size = 4096
  }
}

image "vmware" {
  platform = "vmware"
  output "disk" {
    sector_size = 4096
  }
}

image "fine" {
  architectures = ["amd64", "arm64"]
  output "disk" {
    sector_size = "4096"
  }
  output "disk" {
    format      = "qcow2"
    bootloader  = "sd-boot"
    sector_size = 4096
  }
  output "disk" {
    format      = "vmdk"
    sector_size = 512
  }
}
