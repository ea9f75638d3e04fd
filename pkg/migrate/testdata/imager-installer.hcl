# A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here.

talos {
  version = "v1.11.6"
}

registry "docker.io" {
  insecure = true
}

extension "agent" {
  # The imager's profile has "agent", which stands for this.
  image = "docker.io/library/agent:latest"
}

registry "localhost:5000" {
  insecure = true
}

extension "agent-2" {
  # The imager's profile has "localhost:5000/agent", which stands for this.
  image = "localhost:5000/agent:latest"
}

extension "other" {
  image = "localhost:5000/other:1@sha256:548b2b121611424f6b1b6cfb72a1669421ffaf2f1560911c324a546c7cee655e"
}

extension "ext" {
  tarball = "ext.tar"
}

extension "cache" {
  oci_layout = "cache"
}

image "nocloud" {
  # No equivalent: baseInstaller "registry.corp/siderolabs/installer-base:v1.11.6". An installer is built on
  # ghcr.io/siderolabs/installer-base here; base { registry = "…" } takes it, and the boot assets, from another
  # registry.
  # No equivalent: metaContents. META values: output installer can't carry any; iso, disk, uki, cmdline and pxe can.
  platform = "nocloud"
  # siderolabs/gvisor was "ghcr.io/siderolabs/gvisor:1". The catalogue of Talos v1.11.6 gives its version here, and `mage
  # lock` pins it.
  # siderolabs/gvisor was "ghcr.io/siderolabs/gvisor:2". The catalogue of Talos v1.11.6 gives its version here, and `mage
  # lock` pins it.
  # No equivalent: a second siderolabs/gvisor. An image has an extension once.
  # No equivalent: extension "Not An Image". "Not An Image" is not an image reference. Write HOST/REPOSITORY:TAG, such as
  # "registry.corp/talos/agent:1.4.0"; repositories are lower case.
  # No equivalent: extension "". It comes from nowhere.
  # No equivalent: a second ext. An image has an extension once.
  extensions = [
    extension.agent,
    extension.agent-2,
    extension.other,
    "siderolabs/gvisor",
    extension.ext,
    extension.cache,
  ]

  output "installer" {
    # imageOptions are for disks, and are left out.
    # isoOptions are for ISOs, and are left out.
    # No equivalent: outFormat ".xz". Only disks are compressed here.
  }
}
