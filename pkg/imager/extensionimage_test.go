package imager_test

import (
	"archive/tar"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/tree"
)

var bothArchitectures = []string{"amd64", "arm64"}

// pack makes the image of the extension that a profile declares first.
func (r *run) pack(profile string, archs []string, epoch int64) (*imager.ExtensionImage, error) {
	r.t.Helper()
	p := r.profile(profile)
	x, err := imager.PackExtension(r.t.Context(), p, p.Extensions[0], imager.PackOptions{Architectures: archs, Epoch: time.Unix(epoch, 0), Sources: r.src})
	if err == nil {
		r.t.Cleanup(func() { r.check(x.Close()) })
	}
	return x, err
}

func (r *run) mustPack(profile string, archs []string, epoch int64) *imager.ExtensionImage {
	r.t.Helper()
	x, err := r.pack(profile, archs, epoch)
	r.check(err)
	return x
}

// TestExtensionImage lets go-containerregistry, skopeo and our own sources read the archives of an extension's image.
func TestExtensionImage(t *testing.T) {
	t.Parallel()
	r := newWorld(t).run()
	r.agents("amd64")
	written, err := r.mustPack(authored, bothArchitectures, 7).Write(t.Context(), r.out())
	r.check(err)
	var names []string
	for _, f := range written {
		names = append(names, filepath.Base(f.Name))
		st, err := os.Stat(f.Name)
		if err != nil || st.Size() != f.Size || st.Mode().Perm() != 0o644 {
			t.Errorf("%+v: %v, %v", f, st, err)
		}
	}
	if want := []string{"agent-amd64-extension.tar", "agent-arm64-extension.tar", "agent-extension.oci.tar"}; !slices.Equal(names, want) {
		t.Fatalf("files %q", names)
	}

	// As docker loads it.
	img, err := tarball.ImageFromPath(written[0].Name, nil)
	r.check(err)
	r.check(validate.Image(img))
	config, err := img.ConfigFile()
	if err != nil || config.Architecture != "amd64" || config.OS != "linux" || config.Created.Unix() != 7 {
		t.Errorf("config %+v, %v", config, err)
	}

	// As an OCI layout.
	index, err := layout.ImageIndexFromPath(unpack(t, r.read("agent-extension.oci.tar")))
	r.check(err)
	top, err := index.IndexManifest()
	r.check(err)
	if d := top.Manifests[0]; d.Digest.String() != written[2].Digest || d.Annotations["io.containerd.image.name"] != "talosmith.local/extension/agent:1.4.0" {
		t.Errorf("index %+v, written %+v", d, written[2])
	}
	both, err := index.ImageIndex(top.Manifests[0].Digest)
	r.check(err)
	r.check(validate.Index(both))

	// As the official imager takes it by ociPath: the manifest for its platform, unpacked, has manifest.yaml and rootfs at its top and nothing else.
	// Source: siderolabs/talos pkg/imager/profile/input.go.
	for _, arch := range bothArchitectures {
		l, err := layout.FromPath(unpack(t, r.read("agent-"+arch+"-extension.tar")))
		r.check(err)
		index, err := l.ImageIndex()
		r.check(err)
		top, err := index.IndexManifest()
		r.check(err)
		if p := top.Manifests[0].Platform; p == nil || p.OS != "linux" || p.Architecture != arch {
			t.Fatalf("%s: platform %+v", arch, p)
		}
		img, err := l.Image(top.Manifests[0].Digest)
		r.check(err)
		if got := topOf(t, mutate.Extract(img)); !slices.Equal(got, []string{"manifest.yaml", "rootfs"}) {
			t.Errorf("%s: at its top are %q", arch, got)
		}
	}

	// As our own sources see it: the tree that the profile says.
	for _, arch := range bothArchitectures {
		for _, ref := range []source.Ref{{OCILayout: written[2].Name}, {Tarball: filepath.Join(r.out(), "agent-"+arch+"-extension.tar")}} {
			a, err := r.src.Resolve(t.Context(), ref, arch)
			r.check(err)
			f, err := os.Create(filepath.Join(t.TempDir(), "spool"))
			r.check(err)
			files, err := r.src.Tree(t.Context(), a, nil, f)
			r.check(err)
			e, err := extension.Load(files)
			r.check(err)
			n, ok := e.Root.Lookup("usr/local/lib/containers/agent/usr/local/bin/agent")
			if !ok || n.Mode != 0o755 || n.UID != 0 || n.ModTime.Unix() != 7 {
				t.Fatalf("%s %s: %v %+v", ref, arch, ok, n)
			}
			content, err := tree.ReadAll(n.Content)
			if err != nil || string(content) != arch || e.Manifest.Metadata.Version != "1.4.0" {
				t.Errorf("%s %s: %q, %v, %+v", ref, arch, content, err, e.Manifest)
			}
			if conf, _ := e.Root.Lookup("usr/local/etc/agent.conf"); conf.Mode != 0o600 {
				t.Errorf("%s %s: mode %v", ref, arch, conf.Mode)
			}
			r.check(f.Close())
		}
	}

	// As skopeo copies it, into a directory with every blob checked.
	dir := t.TempDir()
	tooltest.Run(t, "skopeo", "--override-os=linux", "--insecure-policy", "copy", "--all", "-q", "oci-archive:"+written[2].Name, "oci:"+dir+":agent")
	index, err = layout.ImageIndexFromPath(dir)
	r.check(err)
	if top, err = index.IndexManifest(); err != nil || top.Manifests[0].Digest.String() != written[2].Digest {
		t.Errorf("skopeo has %+v, %v", top, err)
	}
	tooltest.Run(t, "skopeo", "--override-os=linux", "--override-arch=arm64", "--insecure-policy", "copy", "-q", "docker-archive:"+written[1].Name, "oci:"+dir+":arm64")
}

// topOf are the names at the top of an archive.
func topOf(t *testing.T, archive io.ReadCloser) (names []string) {
	t.Helper()
	defer archive.Close()
	for tr := tar.NewReader(archive); ; {
		h, err := tr.Next()
		if err == io.EOF {
			slices.Sort(names)
			return slices.Compact(names)
		}
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(h.Name, "/")
		names = append(names, name)
	}
}

// TestExtensionImageIsTheSame: the same profile and files give the same bytes.
func TestExtensionImageIsTheSame(t *testing.T) {
	t.Parallel()
	var first [][sha256.Size]byte
	for range 2 {
		r := newWorld(t).run() // another directory, another time
		r.agents("amd64")
		_, err := r.mustPack(authored, bothArchitectures, 0).Write(t.Context(), r.out())
		r.check(err)
		var sums [][sha256.Size]byte
		for _, name := range []string{"agent-amd64-extension.tar", "agent-arm64-extension.tar", "agent-extension.oci.tar"} {
			sums = append(sums, sha256.Sum256(r.read(name)))
		}
		if first != nil && !slices.Equal(sums, first) {
			t.Errorf("first %x, then %x", first, sums)
		}
		first = sums
	}
}

// TestExtensionImagePush: what is pushed is what is built, and an image of it holds the extension.
func TestExtensionImagePush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	r := w.run()
	r.agents("amd64")
	tagged := strings.Replace(authored, "description =", "tag = \""+w.host+"/corp/agent:1.4.0\"\n description =", 1)
	x := r.mustPack(tagged, bothArchitectures, 0)
	written, err := x.Write(t.Context(), r.out())
	r.check(err)
	digest, err := x.Push(t.Context(), r.src)
	if err != nil || digest != written[2].Digest {
		t.Fatalf("pushed %s, %v; built %+v", digest, err, written)
	}
	ref, err := name.ParseReference(w.host + "/corp/agent@" + digest)
	r.check(err)
	index, err := remote.Index(ref)
	r.check(err)
	r.check(validate.Index(index))

	m := r.build("talos {\n version = \"v1.13.9\"\n}\nextension \"agent\" {\n image = \""+w.host+"/corp/agent:1.4.0\"\n}\nimage \"metal\" {\n"+
		"extensions = [extension.agent]\n output \"initramfs\" {}\n}\n", imager.Request{})
	if e := m.Artefacts[0].Extensions; len(e) != 1 || e[0].Version != "1.4.0" || e[0].Digest != digest {
		t.Errorf("extensions %+v", e)
	}
	if _, err := r.mustPack(authored, bothArchitectures, 0).Push(t.Context(), r.src); err == nil || !strings.Contains(err.Error(), "add a tag to its block") {
		t.Errorf("without a tag: %v", err)
	}
}

func TestExtensionImageRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name, profile string
		archs         []string
		want          string
	}{
		{"image", "talos {\n version = \"v1.13.9\"\n}\nextension \"x\" {\n image = \"ghcr.io/x/y:1\"\n}\nimage \"metal\" {\n output \"iso\" {}\n}\n", bothArchitectures, "an image already"},
		{"path", strings.Replace(authored, `"/usr/local/etc/agent.conf"`, `"/opt/agent.conf"`, 1), bothArchitectures, `agent for amd64: path: "/opt"`},
		{"file", strings.NewReplacer("${arch}", "${replace(arch, \"arm64\", \"none\")}", `architectures = ["amd64", "arm64"]`, "").Replace(authored), bothArchitectures, "-arch=amd64 or -arch=arm64"},
	} {
		r := w.run()
		r.agents("amd64")
		if _, err := r.pack(c.profile, c.archs, 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	r := w.run()
	self, err := os.ReadFile(os.Args[0]) // a program for this machine
	r.check(err)
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	r.agents("")
	r.check(os.WriteFile(filepath.Join(r.dir, "bin", "agent-"+other), self, 0o755))
	if _, err := r.pack(authored, []string{other}, 0); err == nil || !strings.Contains(err.Error(), "extension agent for "+other+": machine: it is for "+runtime.GOARCH) {
		t.Errorf("a program for another machine: %v", err)
	}
	r.agents("amd64")
	files, err := r.mustPack(authored, []string{"arm64"}, 0).Write(t.Context(), r.out())
	if err != nil || len(files) != 1 || filepath.Base(files[0].Name) != "agent-arm64-extension.tar" {
		t.Errorf("for one architecture: %+v, %v", files, err)
	}
}

func TestTagOf(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"1.4.0": "1.4.0", "v1.4.0-rc.1": "v1.4.0-rc.1", "1.4.0+corp": "1.4.0_corp", "-1": "1", "": "latest", "ü": "_", strings.Repeat("1", 200): strings.Repeat("1", 128),
	} {
		if got := imager.TagOf(version); got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}
