package sandbox_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
)

// TestRelease reads every image of the release by go-containerregistry, with all its checks.
func TestRelease(t *testing.T) {
	t.Parallel()
	r := sandboxtest.Open(t)
	entries := catalogue(t, r).All()
	if len(entries) < 6 {
		t.Errorf("%d extensions", len(entries))
	}
	images := []string{"siderolabs/imager:v1.13.9", "siderolabs/installer-base:v1.13.9", "siderolabs/extensions:v1.13.9"}
	for _, e := range entries {
		images = append(images, e.Name+"@"+e.Digest)
		if !strings.HasPrefix(e.Description, "[core] ") && !strings.HasPrefix(e.Description, "[extra] ") {
			t.Errorf("%s: description %q", e.Name, e.Description)
		}
	}
	for _, image := range images {
		ref, err := name.ParseReference(strings.TrimPrefix(r.Mirror(), "ghcr.io=http://")+"/"+image, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Get(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if got.MediaType.IsIndex() {
			index, err := got.ImageIndex()
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Index(index, validate.Fast); err != nil {
				t.Errorf("%s: %v", image, err)
			}
		}
		img, err := got.Image()
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img, options(t, img)...); err != nil {
			t.Errorf("%s: %v", image, err)
		}
	}
}

// options leaves out what validate cannot: it takes every layer for gzip. Those with zstd are read by TestAssets and TestBoot.
func options(t *testing.T, img v1.Image) []validate.Option {
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if kind, err := l.MediaType(); err != nil || kind == types.OCILayerZStd {
			return []validate.Option{validate.Fast}
		}
	}
	return nil
}

// TestAssets compares what lies in the images that are no extensions.
func TestAssets(t *testing.T) {
	t.Parallel()
	r := sandboxtest.Open(t)
	imager := flatten(t, r, "ghcr.io/siderolabs/imager:v1.13.9")
	for path, begins := range map[string]string{
		"usr/install/amd64/vmlinuz":           "MZ",
		"usr/install/amd64/initramfs.xz":      "\x28\xb5\x2f\xfd",
		"usr/install/amd64/systemd-stub.efi":  "MZ",
		"usr/install/amd64/systemd-boot.efi":  "MZ",
		"usr/lib/grub/i386-pc/kernel.img":     "",
		"usr/lib/grub/i386-pc/moddep.lst":     "",
		"usr/lib/grub/i386-pc/linux.mod":      "\x7fELF",
		"usr/lib/grub/x86_64-efi/kernel.img":  "\x7fELF",
		"etc/modules.d/10-extra-modules.conf": "search extras built-in\n",
	} {
		b, err := imager.ReadFile(path)
		if err != nil || len(b) == 0 || !strings.HasPrefix(string(b), begins) {
			t.Errorf("%s: %v, %d bytes", path, err, len(b))
		}
	}
	realtek := pull(t, r, "realtek-firmware").rootfs
	if _, ok := realtek.Lookup("usr/lib/firmware/rtl_bt"); ok {
		t.Error("the whiteout does nothing")
	}
	if n, _ := realtek.Lookup("usr/lib/firmware/rtl_nic/rtl8153a-3.fw"); n.Size() < 1000 {
		t.Errorf("the second layer does not replace: %d bytes", n.Size())
	}
	n, _ := pull(t, r, "tailscale").rootfs.Lookup("usr/local/lib/containers/tailscale/usr/local/bin/tailscaled")
	if !n.IsHardLink() || n.Size() < 5e6 {
		t.Errorf("tailscaled: %+v", n)
	}
}

// TestOtherReleases looks at what differs in an old release, and in one of another architecture.
func TestOtherReleases(t *testing.T) {
	t.Parallel()
	old := sandboxtest.OpenOther(t, "v1.7.6", "amd64")
	initrd, err := os.ReadFile(old.Initramfs())
	if err != nil || !strings.HasPrefix(string(initrd), "\xfd7zXZ\x00") {
		t.Errorf("the base of Talos 1.7 is not compressed with xz: %v", err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(old.Mirror(), "ghcr.io=http://")+"/siderolabs/installer:v1.7.6", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if layers, err := img.Layers(); err != nil || len(layers) != 2 {
		t.Errorf("the installer of Talos 1.7 has %d layers, %v", len(layers), err)
	}
	arm64 := flatten(t, sandboxtest.OpenOther(t, "v1.13.9", "arm64"), "ghcr.io/siderolabs/imager:v1.13.9")
	for _, path := range []string{"usr/install/arm64/systemd-stub.efi", "usr/install/arm64/systemd-boot.efi", "usr/lib/grub/arm64-efi/kernel.img"} {
		if n, ok := arm64.Lookup(path); !ok || n.Size() == 0 {
			t.Errorf("%s is missing", path)
		}
	}
	o := sandboxtest.Options(t)
	for _, wrong := range []sandbox.Options{{Cache: o.Cache, Version: "v1.13.9", Arch: "riscv64"}, {Cache: o.Cache, Version: "v2"}} {
		if _, err := sandbox.Open(t.Context(), wrong); err == nil {
			t.Errorf("%+v: opened", wrong)
		}
	}
}

// TestSameBytes builds twice, elsewhere and the second time on one processor. What the cache has may be of other versions of modules.
func TestSameBytes(t *testing.T) {
	shared := sandboxtest.Options(t)
	options := func() sandbox.Options {
		o := shared
		o.Cache = t.TempDir()
		if err := os.Symlink(filepath.Join(shared.Cache, "debian"), filepath.Join(o.Cache, "debian")); err != nil {
			t.Fatal(err)
		}
		return o
	}
	first, err := sandbox.Open(t.Context(), options())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	t.Setenv("TZ", "Asia/Kathmandu")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	o := options()
	second, err := sandbox.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for _, file := range []string{"index.json", "initramfs.xz", "vmlinuz"} { // the index has every digest
		a, err := os.ReadFile(filepath.Join(filepath.Dir(first.Kernel()), file))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(filepath.Dir(second.Kernel()), file))
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Errorf("%s differs", file)
		}
	}

	start := time.Now()
	again, err := sandbox.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if d := time.Since(start); d > time.Second || again.Kernel() != second.Kernel() {
		t.Errorf("a release that is there takes %v", d)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, v := range []string{"", "latest", "v1/2", "../v1", "v1.13.9\n"} {
		if r, err := sandbox.Open(t.Context(), sandbox.Options{Cache: t.TempDir(), Version: v}); err == nil {
			r.Close()
			t.Errorf("version %q is taken", v)
		}
	}
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := sandboxtest.Open(t)
	base := strings.TrimPrefix(r.Mirror(), "ghcr.io=") + "/v2/"
	for _, c := range []struct {
		method, path string
		status       int
		body         string // what it begins with
	}{
		{"GET", "", 200, ""},
		{"GET", "siderolabs/imager/tags/list", 200, `{"name":"siderolabs/imager","tags":["v1.13.9"]}`},
		{"HEAD", "siderolabs/imager/manifests/v1.13.9", 200, ""},
		{"GET", "siderolabs/imager/manifests/v1.13.8", 404, `{"errors":[{"code":"MANIFEST_UNKNOWN"`},
		{"GET", "siderolabs/nothing/manifests/v1.13.9", 404, `{"errors":[{"code":"NAME_UNKNOWN"`},
		{"GET", "siderolabs/imager/blobs/sha256:" + strings.Repeat("0", 64), 404, `{"errors":[{"code":"BLOB_UNKNOWN"`},
		{"GET", "siderolabs/imager/blobs/sha256:..", 400, `{"errors":[{"code":"DIGEST_INVALID"`},
		{"GET", "siderolabs/imager/what/x", 404, `{"errors":[{"code":"UNSUPPORTED"`},
		{"GET", "x", 404, `{"errors":[{"code":"NAME_UNKNOWN"`},
		{"POST", "siderolabs/imager/blobs/uploads/", 405, `{"errors":[{"code":"UNSUPPORTED"`},
	} {
		q, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || a.StatusCode != c.status || !strings.HasPrefix(string(b), c.body) {
			t.Errorf("%s %s: %s %s %v", c.method, c.path, a.Status, b, err)
		}
	}
}
