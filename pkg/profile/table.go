package profile

import (
	"slices"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/vmdisk"
)

// blockSpec is a kind of block. The decoder, the reference page and the JSON Schema are made from it.
type blockSpec struct {
	name  string
	doc   string
	label *labelSpec // nil: the block has no label
	// once: at most one in the parent (for a top-level block: in all files together). required: at least one.
	once, required bool
	attributes     []attribute
	blocks         []*blockSpec
	// anyName: the block's attributes are named by the user; their documentation is attributes[0]'s.
	anyName bool
	example string
}

// labelSpec is what a block's label may be.
type labelSpec struct {
	name   string
	rule   rule
	values func() []string // if set, nothing else
}

// attribute is one row of the table. What a row stands for is filled into the field that has its name as the tag `hcl:"…"`.
type attribute struct {
	name     string
	kind     kind
	doc      string
	required bool
	// byDefault is the value of an attribute that isn't written: a string, []string, bool; nil is the field's zero value.
	byDefault any
	// defaultDoc says what the default is where it has to be computed.
	defaultDoc string
	// noun is what diagnostics call a value, where that isn't the attribute's name.
	noun string
	// values are the only ones; rule is what a string, or each string of a list, must obey.
	values func() []string
	rule   rule
	// only names the labels of the blocks that have the attribute; all of them, if empty.
	only []string
	// own attributes aren't inherited.
	own bool
}

func (s *blockSpec) attribute(name string) *attribute {
	i := slices.IndexFunc(s.attributes, func(a attribute) bool { return a.name == name })
	if i >= 0 {
		return &s.attributes[i]
	}
	if s.anyName {
		return &s.attributes[0]
	}
	return nil
}

func (s *blockSpec) block(name string) *blockSpec {
	i := slices.IndexFunc(s.blocks, func(b *blockSpec) bool { return b.name == name })
	if i < 0 {
		return nil
	}
	return s.blocks[i]
}

// applies says whether a block with this label has the attribute.
func (a *attribute) applies(label string) bool {
	return len(a.only) == 0 || slices.Contains(a.only, label)
}

func oneOf(values ...string) func() []string { return func() []string { return values } }

// fileSpec is a whole profile.
var fileSpec = &blockSpec{
	blocks: []*blockSpec{talosSpec, baseSpec, variableSpec, localsSpec, extensionSpec, registrySpec, storeSpec, imageSpec},
}

var talosSpec = &blockSpec{
	name: "talos", once: true, required: true,
	doc: "The release that every image is made of, and what is the same for all images.",
	attributes: []attribute{
		{name: "version", kind: text, required: true, doc: "The release, such as `v1.13.9`; one that isn't known yet is an error."},
		{name: "registry", kind: text, byDefault: talos.Registry, rule: repositoryRule,
			doc: "Where imager, installer-base, the catalogue and official extensions come from."},
		{name: "allow_unknown", kind: boolean, byDefault: false,
			doc: "Build a version that is newer than the newest known one by the newest rules, with a warning."},
		{name: "allow_mixed_releases", kind: boolean, byDefault: false,
			doc: "Let an image have official extensions of several Talos releases, as a partly updated lock gives them."},
		{name: "effort", kind: text, byDefault: EffortBalanced, values: oneOf(EffortFast, EffortBalanced, EffortSmall),
			doc: "How much is spent on compressing extensions, firmware and modules.dep: see [the store](store.md#effort). " +
				"It is one for the whole profile, since images share what is compressed."},
		{name: "embed_schematic", kind: boolean, byDefault: false,
			doc: "Put the Image Factory's schematic of the image into it, as the Factory does: Talos and Omni tell by its ID what runs. What no schematic can say is an error then."},
	},
	example: `talos {
  version = "v1.13.9"
}
`,
}

var baseSpec = &blockSpec{
	name: "base", once: true,
	doc: "A build of Talos of your own in place of the release: other images, or files instead of theirs. The rules are still those of `talos.version`. " +
		"Expressions can use `arch`.",
	attributes: []attribute{
		{name: "name", noun: "base name", kind: text, rule: shortNameRule, defaultDoc: "`Talos`", doc: "What it calls itself in os-release, and so in boot menus."},
		{name: "version", noun: "base version", kind: text, rule: baseVersionRule, defaultDoc: "`talos.version`",
			doc: "The tag of its images, and what it calls itself in file names, volume labels and menus."},
		{name: "registry", kind: text, rule: repositoryRule, defaultDoc: "`talos.registry`", doc: "Where its `imager` and `installer-base` come from; extensions still come from `talos.registry`."},
		{name: "kernel", kind: hostFile, defaultDoc: "the imager image's", doc: "A kernel."},
		{name: "initramfs", kind: hostFile, defaultDoc: "the imager image's", doc: "An initramfs with Talos's `init` and `rootfs.sqsh`."},
		{name: "sd_boot", kind: hostFile, defaultDoc: "the imager image's", doc: "systemd-boot, a PE file."},
		{name: "sd_stub", kind: hostFile, defaultDoc: "the imager image's", doc: "systemd-stub, a PE file."},
	},
	example: `base {
  version   = "v1.13.9-acme.1"
  kernel    = "build/vmlinuz-${arch}"
  initramfs = "build/initramfs-${arch}.xz"
}
`,
}

var variableSpec = &blockSpec{
	name: "variable", label: &labelSpec{name: "name", rule: variableNameRule},
	doc: "A value that the environment can override: the environment variable has the variable's own name, as in docker buildx bake. " +
		"Expressions use its bare name: `\"console=${console}\"`.",
	attributes: []attribute{
		{name: "description", kind: text, doc: "What it is for."},
		{name: "type", kind: typeConstraint, defaultDoc: "the type of `default`, else `string`",
			doc: "`string`, `number`, `bool`, `list(…)`, `set(…)`, `map(…)`, `object({…})`, `tuple([…])` or `any`. " +
				"An environment variable for anything but the first three is written as an HCL or JSON value."},
		{name: "default", kind: expr, doc: "The value where the environment has none. Without a default, the environment must have one."},
	},
	blocks: []*blockSpec{{
		name: "validation",
		doc:  "A condition on the value; a variable can have several.",
		attributes: []attribute{
			{name: "condition", kind: boolean, required: true, doc: "An expression that is true for good values."},
			{name: "error_message", kind: text, required: true, doc: "A sentence that says what a good value is."},
		},
	}},
	example: `variable "console" {
  description = "serial console of our machines"
  default     = "ttyS0"
  validation {
    condition     = startswith(console, "tty")
    error_message = "A console's name starts with tty."
  }
}
`,
}

var localsSpec = &blockSpec{
	name: "locals", anyName: true,
	doc: "Named expressions, used as `local.NAME`.",
	attributes: []attribute{
		{name: "NAME", kind: expr, rule: variableNameRule, doc: "Any expression; it can use variables and other locals."},
	},
	example: `locals {
  common = ["siderolabs/intel-ucode", "siderolabs/amd-ucode"]
}
`,
}

var extensionSpec = &blockSpec{
	name: "extension", label: &labelSpec{name: "name", rule: extensionNameRule},
	doc: "An extension that isn't in the official catalogue, used as `extension.NAME` in an image. It has exactly one source (`path`, `image`, " +
		"`tarball` or `oci_layout`), or it is written here with `version`, `files` and `service` blocks. Expressions in it can use `arch`, the " +
		"architecture that it is built for (`amd64` or `arm64`).",
	attributes: []attribute{
		{name: "path", kind: hostDirectory, doc: "A directory with `manifest.yaml` and `rootfs/`. A pattern (`*`, `?`, `[…]`) must match exactly one; or, of several, one with the architecture in its name."},
		{name: "image", kind: text, rule: imageRule, doc: "An image in a registry, with tag or digest: `registry.corp/talos/agent:1.4.0`."},
		{name: "tarball", kind: hostArchive, doc: "A tar archive: of an OCI layout, of `docker save`, or of the flat tree; also in gzip, zstd or xz. Patterns as for `path`."},
		{name: "oci_layout", kind: hostLayout, doc: "An OCI layout, a directory or a tar archive; of several images, `PATH:TAG` or `PATH@sha256:…` chooses one. Patterns as for `path`."},
		{name: "version", noun: "extension version", kind: text, rule: extensionVersionRule,
			doc: "Version of an extension that is written here; required there."},
		{name: "description", kind: text, rule: shortRule, doc: "One sentence for `talosctl get extensions`."},
		{name: "author", kind: text, rule: shortRule, doc: "Who maintains it."},
		{name: "files", kind: files, doc: "What it puts into the root file system."},
		{name: "tag", kind: text, rule: tagRule, defaultDoc: "`talosmith.local/extension/<name>:<version>`",
			doc: "The name of the image that `mage extension:build` makes of an extension that is written here or a directory, with host and tag; " +
				"`mage extension:push` pushes it there. It can't lie in the registry that Talos comes from."},
	},
	blocks: []*blockSpec{serviceSpec},
	example: `extension "motd" {
  path = "examples/motd"
}

extension "agent" {
  version     = "1.4.0"
  description = "corporate agent"
  files = {
    "/usr/local/lib/containers/agent/agent" = { source = "bin/agent-${arch}", mode = "0755" }
  }
  service "agent" {
    entrypoint = "/agent"
    depends    = [{ network = ["addresses"] }]
  }
}
`,
}

var serviceSpec = &blockSpec{
	name: "service", label: &labelSpec{name: "name", rule: serviceNameRule},
	doc: "An extension service of an extension that is written here. It runs in a container, whose root is `/usr/local/lib/containers/NAME`.",
	attributes: []attribute{
		{name: "entrypoint", kind: text, required: true, rule: absoluteRule, doc: "The program, an absolute path in the container's root. One of `files` elsewhere goes there, and a link stays."},
		{name: "args", noun: "argument", kind: texts, rule: argumentRule, doc: "Its arguments."},
		{name: "environment", noun: "entry of environment", kind: texts, rule: environmentRule,
			doc: "Environment variables, each `NAME=value`."},
		{name: "environment_file", noun: "environment file", kind: text, rule: absoluteRule,
			doc: "A file of the host with environment variables."},
		{name: "mounts", kind: mounts, doc: "What the container sees of the machine."},
		{name: "depends", kind: depends, doc: "What the service waits for; each element has exactly one field."},
		{name: "restart", noun: "restart policy", kind: text, byDefault: "always", values: oneOf("always", "never", "untilSuccess"),
			doc: "When it is started again."},
		{name: "log_to_console", kind: boolean, byDefault: false, doc: "Log to the machine's console, too."},
	},
	blocks: []*blockSpec{{
		name: "security", once: true,
		doc: "What the container may do.",
		attributes: []attribute{
			{name: "writeable_rootfs", kind: boolean, byDefault: false, doc: "The container's root can be written to."},
			{name: "writeable_sysfs", kind: boolean, byDefault: false, doc: "`/sys` can be written to."},
			{name: "masked_paths", noun: "masked path", kind: texts, rule: absoluteRule,
				doc: "Paths that the container can't see, instead of the default ones."},
			{name: "readonly_paths", noun: "read-only path", kind: texts, rule: absoluteRule,
				doc: "Paths that it can't write to, instead of the default ones."},
			{name: "rootfs_propagation", noun: "mount propagation", kind: text, values: oneOf("private", "rprivate", "rshared", "rslave", "shared", "slave"),
				doc: "Mount propagation of the root."},
		},
	}},
}

var registrySpec = &blockSpec{
	name: "registry", label: &labelSpec{name: "host", rule: hostRule},
	doc: "How to reach a registry. Credentials are those of docker or podman, never part of the profile.",
	attributes: []attribute{
		{name: "mirrors", kind: texts, rule: mirrorRule, doc: "URLs that are asked first, in this order."},
		{name: "ca", kind: hostFile, doc: "A PEM file with certificate authorities that are trusted, too."},
		{name: "client_cert", kind: hostFile, doc: "A PEM file with a client certificate; needs `client_key`."},
		{name: "client_key", kind: hostFile, doc: "A PEM file with its key; needs `client_cert`."},
		{name: "insecure", kind: boolean, byDefault: false, doc: "Allow plain HTTP and certificates that can't be verified."},
	},
	example: `registry "ghcr.io" {
  mirrors = ["https://mirror.corp/ghcr"]
  ca      = "corp.pem"
}
`,
}

var storeSpec = &blockSpec{
	name: "store", once: true,
	doc: "Where machines share what building steps made, such as an extension's squashfs: a repository of an OCI registry. A machine that is new to the profile " +
		"gets it from there instead of compressing it again. Credentials are those of docker or podman, TLS settings those of the registry's block.",
	attributes: []attribute{
		{name: "registry", kind: text, required: true, rule: storeRule, doc: "The repository."},
		{name: "write", kind: boolean, byDefault: false,
			doc: "Upload what is made here. Whoever may write to the repository decides what images are made of, so leave it off and set the environment variable " +
				"`TALOSMITH_STORE_WRITE=1` where only reviewed changes are built."},
	},
	example: `store {
  registry = "registry.corp/cache/talosmith"
}
`,
}

var imageSpec = &blockSpec{
	name: "image", label: &labelSpec{name: "name", rule: imageNameRule},
	doc: "A variant of Talos and what is built of it. An image whose name starts with `_` is only inherited from.",
	attributes: []attribute{
		{name: "inherits", kind: texts, own: true,
			doc: "Images to start from, in this order. Their lists come first, then the image's own; of anything else the last one wins. An image that is " +
				"reached twice counts once, where it is reached first. An `output` block changes the inherited one of its kind, attribute by attribute; if either side " +
				"has several of that kind, it is one more. Attributes of an inherited image are evaluated there: they don't see the matrix of the image that inherits them."},
		{name: "matrix", kind: expr, own: true,
			doc: "An object of lists: the block stands for one image for each combination, and the keys are variables in it. Needs `name`."},
		{name: "name", noun: "image name", kind: text, own: true, rule: imageNameRule, defaultDoc: "the label",
			doc: "The image's name, made from the matrix: `\"metal-${console}\"`."},
		{name: "platform", kind: text, byDefault: "metal", values: talos.Platforms, doc: "Where it boots."},
		{name: "architectures", kind: texts, byDefault: []string{talos.AMD64}, values: talos.Architectures,
			doc: "What it boots on; every output is built for each."},
		{name: "extensions", kind: extensionRefs,
			doc: "Extensions in the order of their layers: names of the official catalogue (`\"siderolabs/gvisor\"`) or declared ones (`extension.motd`)."},
		{name: "override", noun: "override path", kind: texts, rule: overrideRule,
			doc: "Paths where extensions may have different files, of which the last one's is used; all below a directory. Anywhere else that is an error."},
		{name: "kernel_args", noun: "kernel argument", kind: texts, rule: kernelArgRule,
			doc: "Kernel arguments, each an element. They are added to Talos's; `console=` replaces all consoles; `-NAME` removes one, `-NAME=VALUE` one value of it."},
		{name: "meta", kind: metaValues,
			doc: "Values of the META store, by key: a number from 1 to 255, or a name (" + metaKeyNames() + "). A disk has them in its META partition, other outputs in the " +
				"kernel command line. An installer can't carry any: then write `meta` in the outputs that can."},
		{name: "embedded_config", noun: "machine configuration", kind: text, rule: machineConfigRule,
			doc: "A machine configuration that is built in (Talos 1.12 and later), such as `file(\"controlplane.yaml\")`. Whoever has the image can read it."},
		{name: "image_cache", kind: hostLayout,
			doc: "An OCI layout with container images for machines that can't pull them, as `talosctl images cache-create` writes it. An ISO has it as a directory, a disk in a partition of its own."},
		{name: "splash", kind: hostFile, defaultDoc: "Talos's own", doc: "A BMP file for the UKI's boot splash."},
	},
	blocks: []*blockSpec{overlaySpec, outputSpec},
	example: `image "metal" {
  extensions  = ["siderolabs/gvisor", "siderolabs/intel-ucode", extension.motd]
  kernel_args = ["console=${console}", "-init_on_alloc"]

  output "iso" {}
  output "disk" {
    size = "8GiB"
  }
}
`,
}

var overlaySpec = &blockSpec{
	name: "overlay", once: true,
	doc: "What a single-board computer needs beside Talos (Talos 1.7 and later): firmware, and an installer that puts it onto disks. It comes from the official catalogue of overlays, by name; " +
		"or from one of `image`, `path`, `tarball` and `oci_layout`. A disk that says no `bootloader` gets that of the overlay's profile. See [overlays.md](overlays.md).",
	attributes: []attribute{
		{name: "name", noun: "overlay name", kind: text, required: true, rule: overlayNameRule, doc: "The board, such as `rpi_generic`."},
		{name: "image", kind: text, rule: imageRule, doc: "An image in a registry, with tag or digest."},
		{name: "path", kind: hostDirectory, doc: "A directory with `artifacts/`, `installers/` and `profiles/`."},
		{name: "tarball", kind: hostArchive, doc: "A tar archive: of an OCI layout, of `docker save`, or of the flat tree."},
		{name: "oci_layout", kind: hostLayout, doc: "An OCI layout, a directory or a tar archive; of several images, `PATH:TAG` or `PATH@sha256:…` chooses one."},
		{name: "options", kind: tree, doc: "What the installer is told, as the board's documentation says: any values."},
		{name: "run", kind: boolean, byDefault: false,
			doc: "Run the overlay's installer: a Linux program, made by others, for the architecture of the machine that builds. It runs in a directory of its own and, where the system allows it, without network or anything " +
				"else of the machine. Without it nothing of an overlay is run, and only `kernel` and `initramfs` can be built."},
	},
	example: `image "rpi" {
  architectures = ["arm64"]
  overlay {
    name = "rpi_generic"
    run  = true
  }
  output "disk" {}
}
`,
}

var outputSpec = &blockSpec{
	name:  "output",
	label: &labelSpec{name: "kind", values: outputKinds},
	doc: "An artefact, for each architecture a file `out/<image>-<arch>…`: `iso` (`.iso`), `disk` (`.raw.zst`, by format and compression), `installer` (`-installer.tar`, and for several " +
		"architectures `<image>-installer.oci.tar`), `uki` (`-uki.efi`), `initramfs` (`-initramfs.xz`), `kernel` (`-vmlinuz`), `cmdline` (`-cmdline`), `pxe` (`.ipxe`, a script, with the " +
		"kernel and the initramfs that it loads). An " +
		"image has at least one, its own or inherited; several of a kind are fine as long as their files have different names.",
	attributes: []attribute{
		{name: "format", noun: "disk format", kind: text, only: []string{"disk"}, values: diskFormats, defaultDoc: "the platform's", doc: "What the hypervisor takes."},
		{name: "compression", kind: text, only: []string{"disk"}, values: diskCompressions, defaultDoc: "the platform's; `none` for another format than the platform's",
			doc: "How the file is compressed. `tar.gz` is for Google Cloud."},
		{name: "size", kind: size, only: []string{"disk"}, defaultDoc: "that of the platform and the Talos version",
			doc: "Size of the disk, exactly: a multiple of 512 bytes from 64MiB to 16TiB; of 1MiB for `vhd` and `ova`. Units are powers of two; `8GB` is refused, since tools differ about it."},
		{name: "sector_size", noun: "sector size", kind: sectorSize, only: []string{"disk"}, defaultDoc: "`512`",
			doc: "Bytes of a sector of the disk that the image is written to: most have 512, or say so; `4096` is for those that have no others (4Kn). " +
				"Only `raw` and `qcow2`; and UEFI alone boots from it, so not with `grub`. See [disks.md](disks.md#sectors-of-4096-bytes)."},
		{name: "bootloader", kind: text, only: []string{"iso", "disk"}, values: bootloaders,
			defaultDoc: "`dual-boot` for amd64, `sd-boot` for arm64; `grub` before Talos 1.10",
			doc: "What starts Talos: systemd-boot for UEFI alone (`sd-boot`), or with GRUB for BIOS beside it (`dual-boot`, amd64 alone); or GRUB for both (`grub`), " +
				"which is all that Talos before 1.10 knows."},
		{name: "meta", kind: metaValues, only: []string{"iso", "disk", "uki", "cmdline", "pxe"}, doc: "Values of the META store, in addition to the image's; of the same key, these."},
		{name: "base_url", noun: "base URL", kind: text, only: []string{"pxe"}, rule: baseURLRule, defaultDoc: "the script's own URL, without its file name",
			doc: "Where machines find the kernel and the initramfs: the URL of the folder that has the files of `out/`."},
		{name: "tag", kind: text, only: []string{"installer"}, rule: tagRule, defaultDoc: "`talosmith.local/installer:<version>-<image>`",
			doc: "The installer image's name in a registry, with host and tag; `mage push` pushes it there. It can't lie in the registry that Talos comes from."},
	},
}

// outputKinds are the kinds of output.
func outputKinds() []string { return namesOf(talos.Kinds()) }

func bootloaders() []string { return namesOf(talos.Bootloaders()) }

func diskFormats() []string { return namesOf(vmdisk.Formats) }

func diskCompressions() []string { return namesOf(vmdisk.Compressions) }

func namesOf[T ~string](all []T) []string {
	var out []string
	for _, one := range all {
		out = append(out, string(one))
	}
	return out
}
