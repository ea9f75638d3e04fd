// Package tooltest finds the real tools that tests use as oracles.
//
// Without a tool a test is skipped, with the package to install; where REQUIRE_TOOLS=1 it fails.
package tooltest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/talosmith/talosmith/internal/debian"
)

// Packages are the tools that tests use, with the Debian package that has each. `mage tools` installs them all.
var Packages = map[string]string{
	"cpio":                "cpio",
	"debugfs":             "e2fsprogs",
	"depmod":              "kmod",
	"docker-registry":     "docker-registry",
	"dpkg-deb":            "dpkg",
	"dumpe2fs":            "e2fsprogs",
	"e2fsck":              "e2fsprogs",
	"fdisk":               "fdisk",
	"fsck.fat":            "dosfstools",
	"genisoimage":         "genisoimage",
	"git":                 "git",
	"grub-fstest":         "grub-common",
	"grub-mkimage":        "grub-common",
	"gzip":                "gzip",
	"htpasswd":            "apache2-utils",
	"isoinfo":             "genisoimage",
	"iucode_tool":         "iucode-tool",
	"jsonschema":          "python3-jsonschema",
	"mcopy":               "mtools",
	"mdel":                "mtools",
	"mdir":                "mtools",
	"minfo":               "mtools",
	"mkfs.ext4":           "e2fsprogs",
	"mkfs.vfat":           "dosfstools",
	"mkfs.xfs":            "xfsprogs",
	"mksquashfs":          "squashfs-tools",
	"mtype":               "mtools",
	"objcopy":             "binutils",
	"objdump":             "binutils",
	"openssl":             "openssl",
	"osslsigncode":        "osslsigncode",
	"qemu-img":            "qemu-utils",
	"qemu-system-aarch64": "qemu-system-arm",
	"qemu-system-x86_64":  "qemu-system-x86",
	"readelf":             "binutils",
	"sfdisk":              "fdisk",
	"sgdisk":              "gdisk",
	"skopeo":              "skopeo",
	"sqfs2tar":            "squashfs-tools-ng",
	"tar":                 "tar",
	"unshare":             "util-linux",
	"unsquashfs":          "squashfs-tools",
	"xfs_db":              "xfsprogs",
	"xfs_repair":          "xfsprogs",
	"xorriso":             "xorriso",
	"xz":                  "xz-utils",
	"zstd":                "zstd",
}

// More are packages that tests want besides: UEFI firmware for virtual machines.
var More = []string{"ovmf", "qemu-efi-aarch64"}

// Need returns the path of a tool, or ends the test.
func Need(t testing.TB, tool string) string {
	t.Helper()
	pkg, known := Packages[tool]
	if !known {
		t.Fatalf("tooltest.Packages does not say which Debian package has %s", tool)
	}
	if path, err := exec.LookPath(tool); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} { // not on every user's PATH
		path := filepath.Join(dir, tool)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	Missing(t, tool, pkg)
	return ""
}

// Missing ends a test that lacks something of a Debian package: it skips, or fails where REQUIRE_TOOLS=1.
func Missing(t testing.TB, what, pkg string) {
	t.Helper()
	Unable(t, "%s is missing: install the Debian package %s (`go tool mage tools`)", what, pkg)
}

// Unable ends a test that this system can't run, and says why: it skips, or fails where REQUIRE_TOOLS=1.
func Unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("REQUIRE_TOOLS") == "1" {
		t.Fatalf(format+"; REQUIRE_TOOLS=1 wants it", args...)
	}
	t.Skipf(format, args...)
}

// Run runs a tool that Need found and returns what it printed, both streams. A failure ends the test.
func Run(t testing.TB, tool string, args ...string) string {
	t.Helper()
	cmd := exec.Command(Need(t, tool), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// Debian returns packages of a Debian suite, unpacked nowhere, from the cache that tests share with the demo.
func Debian(t testing.TB, suite string, names ...string) []debian.Package {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	packages, err := debian.Fetch(context.Background(), debian.Options{Cache: filepath.Join(cache, "talosmith", "debian"), Suite: suite}, names...)
	if errors.Is(err, debian.ErrNoApt) {
		Missing(t, "apt-get", "apt")
	}
	if err != nil {
		t.Fatal(err)
	}
	return packages
}
