// Package preflight finds what would not work in an image before it is made.
//
//	extension ──ReadExtension──► Contents ┐
//	its modules ──kmod.Scan──► Modules ───┤
//	base ──ReadBase──► Contents ──────────┼─► Check ──► []Finding
//	base's modules, kernel ──► Modules ───┤
//	sizes, outputs, talos.Facts ──────────┘
//
// What a tree says is read once and kept; [Check] and [CheckArgs] are pure functions of that. They look at
//
//	contents    what [extension.Extension.Check] found, the layers at hand: a link or an entrypoint may be in another one
//	conflicts   [extension.Conflicts]
//	programs    machine; interpreter and libraries as the kernel and ld.so look for them, in the root that a program sees: that of the
//	            machine (base and all extensions), or that of its service, with the mounts of its specification
//	modules     kernel release, vermagic, symbols with their CRCs, dependencies, signatures, duplicates
//	sizes       of two installations (A and B) on the partitions of a disk; memory
//	arguments   of the kernel command line, by image
//
// # What cannot be known
//
// Libraries that a program opens by itself (dlopen) and what it runs. Where there is an ld.so.cache or a path file of musl, which are not
// read, a library counts as found anywhere in the root. The symbols of a kernel that has no table of sections (arm64) are known only as
// far as modules of the base import them, with their CRCs: another symbol that nobody exports is not reported there, since the kernel may
// have it. Whether a signature is valid: only who signed is compared.
package preflight

import "github.com/talosmith/talosmith/pkg/elfinfo"

// Version of what [Contents] are; raise it when that changes.
const Version = "2." + elfinfo.Version
