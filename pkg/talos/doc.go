// Package talos is all that depends on the Talos version, the platform or the architecture, as data: how things are compressed,
// where they lie in images, which partitions a disk has, the kernel command line, the catalogue of official extensions. It does
// no I/O.
//
// Start with [ParseVersion] and [For]; everything else hangs on [Facts].
//
// The source of each row is upstream's repository, https://github.com/siderolabs/talos, at tag v1.13.9; rows for 1.14 come from its main
// branch and say so. A test compares the rows with upstream's own module (pkg/machinery: imager/quirks, kernel, platforms,
// extensions), which this package doesn't import otherwise. The order and meaning of kernel arguments are those of
// github.com/siderolabs/go-procfs v0.1.2, whose answers are kept in testdata.
//
// A version counts as its release: v1.14.0-beta.1 follows the rules of 1.14.0.
//
// # Not supported
//
// Talos before 1.5 (no UKI, other paths), the platform "container" (it boots nothing), SecureBoot (nothing is signed).
package talos
