# Values of other types than their attributes take.
talos {
  version              = ["v1.13.9"]
  registry             = {}
  allow_unknown        = "perhaps"
  allow_mixed_releases = 1
  embed_schematic      = []
}

variable "console" {
  description = ["console"]
  default     = "ttyS0"
  validation {
    condition     = console != "ttyS0"
    error_message = ["one", "two"]
  }
}

extension "agent" {
  version = "1.4.0"
  files = {
    "/usr/local/bin/list"  = ["agent"]
    "/usr/local/bin/text"  = { content = ["x"] }
    "/usr/local/bin/where" = { source = {} }
    "/usr/local/bin/mode"  = { content = "x", mode = [7, 5, 5] }
  }
  service "agent" {
    entrypoint       = ["/agent", "-v"]
    environment_file = {}
    mounts           = { source = "/dev", destination = "/dev" }
    depends          = { time = true }
    log_to_console   = "loudly"
    security {
      writeable_rootfs = "rw"
      writeable_sysfs  = "rw"
      masked_paths     = [null]
    }
  }
  service "other" {
    entrypoint = "/other"
    mounts = [
      { source = null, destination = "/dev" },
      { source = "/dev", destination = ["/dev"] },
      { source = "/dev", destination = "/dev", options = "ro" },
      null,
    ]
    depends = [{ network = "addresses" }, { time = "soon" }, { configuration = false }, {}]
  }
}

image "metal" {
  inherits    = "_base"
  platform    = ["metal"]
  meta        = { network = null }
  splash      = ["splash.bmp"]
  extensions  = [extension.agent]
  image_cache = {}
  overlay {
    name       = ["rpi_generic"]
    image      = ["ghcr.io/siderolabs/sbc-raspberrypi:v0.1.0"]
    path       = []
    tarball    = []
    oci_layout = []
    options    = ["x"]
    run        = "yes"
  }
  output "disk" {
    format     = ["raw"]
    bootloader = ["grub"]
    meta       = []
  }
}
