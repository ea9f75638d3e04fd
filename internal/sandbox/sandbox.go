// Package sandbox makes a stand-in Talos release out of real parts and serves it as a registry on loopback: what `mage demo`
// builds against, and what tests boot.
//
// Of Debian (package debian) are the kernel and its modules, systemd-boot and systemd-stub, GRUB's modules, microcode, firmware
// and the contents of extensions; of ours are the programs init (which is its whole user space but modprobe), service and
// installer. It is published under the official names: imager, installer-base, extensions and the extensions' own, for one
// architecture; and overlays with an overlay for the board rpi_generic, whose program (board) is ours, for both:
//
//	crun               extra  tiny; an image index
//	gvisor             core   one big static Go binary; zstd layer
//	tailscale          extra  an extension service, whose static Go binary has two hard-linked names; Docker's media types
//	realtek-firmware   core   firmware; two layers (gzip, zstd): the second has a whiteout, an opaque directory and a changed file
//	bnx2-bnx2x         core   firmware
//	intel-ucode        core   microcode (amd64 alone)
//	amd-ucode          core   microcode and other firmware (amd64 alone)
//	btrfs              extra  a kernel module (.ko.xz) that needs others of the base
//	usb-modem-drivers  extra  the same; its old name was usb-modem
//	uinput             extra  a kernel module (.ko) in extras/
//	fuse3              core   files with SELinux labels in PAX records
//
// Before Talos 1.10 modules and firmware are in /lib, and installer is there instead of installer-base, with boot assets in a second
// layer; before 1.8 the base is compressed with xz.
//
// A release is built once for what it is made of (packages, our sources, compilers), below Options.Cache, and removed when
// another is built a week after its last use.
//
// The kernel argument standin.poweroff ends the machine after the report (package report); standin.mount=TYPE:DEVICE mounts a
// block device, as in "squashfs:/dev/vda", and lists every file instead; with ":rw" added it writes a file before.
//
// # Not supported
//
// Releases for several architectures. Pushing to the registry.
package sandbox

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Options of Open.
type Options struct {
	Cache   string // a directory; packages go into its "debian", releases into its "standin"
	Version string // of Talos, as a tag: "v1.13.9"
	Arch    string // Go's name, "amd64" (default) or "arm64"
	Mirror  string // URI of a Debian archive; default: the one in apt's configuration

	Log func(message string) // is told what takes time; may be nil
}

func (o Options) log(format string, args ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, args...))
	}
}

// Release is a stand-in release, being served.
type Release struct {
	dir    string
	server *http.Server
	addr   string
}

var tagRule = regexp.MustCompile(`^v?[0-9][0-9A-Za-z.-]{0,100}$`)

// Open builds the release of a version where the cache does not have it, and serves it until Close.
func Open(ctx context.Context, o Options) (*Release, error) {
	o.Arch = cmp.Or(o.Arch, "amd64")
	dir, err := prepare(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("make the stand-in of Talos %s for %s: %w", o.Version, o.Arch, err)
	}
	handler, err := newRegistry(dir)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Release{dir: dir, addr: listener.Addr().String(), server: &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}}
	go r.server.Serve(listener) // until Close
	return r, nil
}

// Mirror returns what to set TALOSMITH_MIRRORS to.
func (r *Release) Mirror() string { return "ghcr.io=http://" + r.addr }

// Kernel and Initramfs are the files vmlinuz and initramfs.xz of the release.
func (r *Release) Kernel() string    { return filepath.Join(r.dir, "vmlinuz") }
func (r *Release) Initramfs() string { return filepath.Join(r.dir, "initramfs.xz") }

// Close ends the registry.
func (r *Release) Close() error { return r.server.Close() }

// prepare returns the directory of a release, built if need be.
func prepare(ctx context.Context, o Options) (string, error) {
	if !tagRule.MatchString(o.Version) {
		return "", fmt.Errorf("%q is no version tag", o.Version)
	}
	l, err := newLayout(o.Version, o.Arch)
	if err != nil {
		return "", err
	}
	p, err := fetchParts(ctx, o, l)
	if err != nil {
		return "", err
	}
	base := filepath.Join(o.Cache, "standin")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(base, o.Version+"-"+o.Arch+"-"+p.key()[:16])
	if isBuilt(dir) {
		now := time.Now()
		return dir, os.Chtimes(dir, now, now) // for tidy
	}
	lock := flock.New(filepath.Join(base, "lock"))
	if _, err := lock.TryLockContext(ctx, 200*time.Millisecond); err != nil {
		return "", fmt.Errorf("lock %s: %w", base, err)
	}
	defer lock.Unlock()
	if isBuilt(dir) {
		return dir, nil
	}
	if err := tidy(base, time.Now().Add(-keep)); err != nil {
		return "", err
	}
	o.log("making the stand-in of Talos %s for %s", o.Version, o.Arch)
	tmp, err := os.MkdirTemp(base, "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := build(ctx, o, p, tmp); err != nil {
		return "", err
	}
	return dir, os.Rename(tmp, dir)
}

// keep is how long a release stays that nobody opens.
const keep = 7 * 24 * time.Hour

// tidy removes what was last used before a time, and what a killed process left. The lock is held.
func tidy(base string, before time.Time) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			return err
		}
		if !e.IsDir() || !st.ModTime().Before(before) && !strings.HasPrefix(e.Name(), "making-") {
			continue
		}
		if err := os.RemoveAll(filepath.Join(base, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func isBuilt(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, indexName))
	return err == nil
}
