// Package extension is a Talos system extension: a manifest and a file tree that is laid over Talos's root file system at boot.
//
//	manifest.yaml   name, version, which Talos versions it goes with
//	rootfs/         the files; only some places are allowed
//
// [Load] reads one from a tree, [Extension.Check] finds what is wrong with it, [Extension.Parts] divides it as a boot image needs it:
// what becomes a squashfs layer, what firmware the kernel must find before the layers are mounted, what microcode it wants
// before that. [Conflicts] compares several with each other. [Author] makes the tree of one that is written down.
// [WriteExtensionsYAML] makes the list of layers that Talos's init reads.
//
// Sources, in https://github.com/siderolabs/talos/tree/v1.13.9: pkg/machinery/extensions, internal/pkg/extensions (compress.go, list.go,
// kernel_modules.go), internal/app/machined/pkg/controllers/runtime/extension_service.go. Where this package differs it says so.
//
// # Not supported
//
// Kernel modules, ELF files and sizes are looked at elsewhere, with the base image at hand. Signatures of extensions.
package extension
