package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
)

// TestInstaller lets skopeo read the installer image in both of its forms, and looks into its layers.
func TestInstaller(t *testing.T) {
	t.Parallel()
	b := build(t)
	a, file := b.artefact(t, "-installer.tar")
	var config struct {
		Digest, Architecture string
		Labels               map[string]string
		Env                  []string
	}
	if err := json.Unmarshal(skopeo(t, "inspect", "oci-archive:"+file), &config); err != nil {
		t.Fatal(err)
	}
	if config.Digest != a.Digest || config.Architecture != "amd64" || config.Labels["alpha.talos.dev/version"] != a.Talos || !slices.Contains(config.Env, "VERSION="+a.Talos) {
		t.Errorf("skopeo says %+v, the manifest digest %s", config, a.Digest)
	}
	var layers [][]byte
	for _, form := range []string{"oci-archive", "docker-archive"} {
		dir := filepath.Join(t.TempDir(), "dir")
		skopeo(t, "copy", "--quiet", form+":"+file, "dir:"+dir)
		var manifest struct{ Layers []struct{ Digest string } }
		if err := json.Unmarshal(read(t, filepath.Join(dir, "manifest.json")), &manifest); err != nil {
			t.Fatal(err)
		}
		for _, l := range manifest.Layers {
			layers = append(layers, unzipped(t, read(t, filepath.Join(dir, strings.TrimPrefix(l.Digest, "sha256:")))))
		}
	}
	if len(layers) != 4 || !bytes.Equal(layers[0], layers[2]) || !bytes.Equal(layers[1], layers[3]) {
		t.Fatalf("%d layers in both forms", len(layers))
	}
	if files := untar(t, layers[0]); files["bin/installer"] == nil {
		t.Errorf("the base has %q", slices.Sorted(maps.Keys(files)))
	}
	files := untar(t, layers[1])
	if names := slices.Sorted(maps.Keys(files)); !slices.Equal(names, []string{"usr/install/amd64/systemd-boot.efi", "usr/install/amd64/vmlinuz.efi"}) {
		t.Errorf("the boot assets are %q", names)
	}
	_, initrd := b.artefact(t, "-initramfs.xz")
	image := filepath.Join(t.TempDir(), "vmlinuz.efi")
	write(t, image, string(files["usr/install/amd64/vmlinuz.efi"]))
	var texts []string
	for _, s := range sections(t, image) {
		if s.name == ".initrd" && s.sum != sumFile(t, initrd) {
			t.Error("the installer's initramfs is another")
		}
		if s.name == ".cmdline" || s.name == ".profile" {
			texts = append(texts, string(s.text))
		}
	}
	if want := []string{a.Cmdline, "ID=main", "ID=reset-maintenance\nTITLE=Reset to maintenance mode", a.Cmdline + " talos.experimental.wipe=system:EPHEMERAL,STATE"}; !slices.Equal(texts, want) {
		t.Errorf("the installer's UKI has %q, want %q", texts, want)
	}
	var docker []struct{ RepoTags []string }
	if err := json.Unmarshal(untar(t, read(t, file))["manifest.json"], &docker); err != nil || len(docker) != 1 || !slices.Equal(docker[0].RepoTags, []string{a.Tag}) {
		t.Errorf("docker would load %+v, %v; the tag is %s", docker, err, a.Tag)
	}
}

// TestPush copies the installer image into a registry with TLS and passwords by skopeo, pushes it there by mage, and has skopeo
// compare what is there.
func TestPush(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	a, file := b.artefact(t, "-installer.tar")
	r := newRegistry(t)
	digestOf := func(image string) string {
		return strings.TrimSpace(string(skopeo(t, "inspect", "--creds", "user:s3cret", "--cert-dir", r.dir, "--format={{.Digest}}", "docker://"+image)))
	}

	skopeo(t, "copy", "--quiet", "--dest-creds", "user:s3cret", "--dest-cert-dir", r.dir, "oci-archive:"+file, "docker://"+r.host+"/by-skopeo/oci:1")
	if digest := digestOf(r.host + "/by-skopeo/oci:1"); digest != a.Digest {
		t.Errorf("skopeo's copy has the digest %s, the manifest says %s", digest, a.Digest)
	}
	skopeo(t, "copy", "--quiet", "--dest-creds", "user:s3cret", "--dest-cert-dir", r.dir, "docker-archive:"+file, "docker://"+r.host+"/by-skopeo/docker:1")

	tag := r.host + "/talos/installer:v1.13.9-metal"
	profile := edited(t, "registry.example.com/talos/installer:v1.13.9-metal", tag)
	write(t, profile, string(read(t, profile))+fmt.Sprintf("\nregistry %q {\n  ca = %q\n}\n", r.host, filepath.Join(r.dir, "ca.crt")))
	env := b.env(release)
	env["DOCKER_CONFIG"] = t.TempDir()
	push := run{args: []string{"push", "-profile=" + profile, "-out=" + filepath.Join(t.TempDir(), "out")}, env: env}

	for _, c := range []struct{ account, says string }{{"", "docker login " + r.host}, {"user:wr0ng", "401"}} {
		r.login(t, env["DOCKER_CONFIG"], c.account)
		res := push.do(t)
		if res.code != 1 || !strings.Contains(res.stderr, "push "+tag+": ") || !strings.Contains(res.stderr, c.says) || strings.Contains(res.stderr, "wr0ng") {
			t.Errorf("account %q: %s", c.account, res)
		}
	}
	r.login(t, env["DOCKER_CONFIG"], "user:s3cret")
	for range 2 { // the second finds all there
		res := push.must(t)
		for _, want := range []string{
			tag + "\n", "machine.install.image: " + tag + "@" + a.Digest + "\n", "talosctl upgrade --image " + tag + "@" + a.Digest + "\n",
		} {
			if !strings.Contains(res.stdout, want) {
				t.Errorf("stdout does not have %q:\n%s", want, res.stdout)
			}
		}
		if strings.Contains(res.String(), "s3cret") || strings.Contains(res.String(), base64.StdEncoding.EncodeToString([]byte("user:s3cret"))) {
			t.Error("the password is shown")
		}
	}
	if digest := digestOf(tag); digest != a.Digest {
		t.Errorf("the registry has %s, the manifest says %s", digest, a.Digest)
	}
	pulled := filepath.Join(t.TempDir(), "dir")
	skopeo(t, "copy", "--quiet", "--src-creds", "user:s3cret", "--src-cert-dir", r.dir, "docker://"+tag, "dir:"+pulled)
}

// edited is a copy of this repository's profile, with parts replaced, that can lie anywhere.
func edited(t testing.TB, oldnew ...string) string {
	t.Helper()
	top := repository(t)
	text := string(read(t, filepath.Join(top, "extensions.hcl")))
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			t.Fatalf("extensions.hcl has no %q any more", oldnew[i])
		}
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	name := filepath.Join(t.TempDir(), "extensions.hcl")
	write(t, name, strings.ReplaceAll(text, `"examples/`, `"`+top+`/examples/`))
	return name
}

// server is Debian's registry with TLS and one account: user, s3cret.
type server struct {
	host string
	dir  string // has ca.crt
}

func newRegistry(t testing.TB) server {
	t.Helper()
	s := server{dir: t.TempDir()}
	in := func(name string) string { return filepath.Join(s.dir, name) }
	keys := t.TempDir() // not where skopeo looks for certificates of clients
	tooltest.Run(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test", "-days", "1",
		"-addext", "subjectAltName=IP:127.0.0.1", "-keyout", keys+"/server.key", "-out", in("ca.crt"))
	write(t, keys+"/htpasswd", tooltest.Run(t, "htpasswd", "-nbB", "user", "s3cret"))
	binary := tooltest.Need(t, "docker-registry")
	for range 5 { // a port that is free may be another's a moment later
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.host = l.Addr().String()
		l.Close()
		write(t, keys+"/config.yml", "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: "+t.TempDir()+"}}\nhttp:\n  addr: "+s.host+
			"\n  secret: x\n  tls: {certificate: "+in("ca.crt")+", key: "+keys+"/server.key}\nauth: {htpasswd: {realm: test, path: "+keys+"/htpasswd}}\n")
		var out bytes.Buffer
		cmd := exec.Command(binary, "serve", keys+"/config.yml")
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { cmd.Wait(); close(done) }()
		t.Cleanup(func() { cmd.Process.Kill(); <-done })
		for range 600 {
			if c, err := net.Dial("tcp", s.host); err == nil {
				c.Close()
				return s
			}
			select {
			case <-done:
			case <-time.After(50 * time.Millisecond):
				continue
			}
			break
		}
		t.Logf("docker-registry on %s: %s", s.host, &out)
	}
	t.Fatal("docker-registry does not start")
	return s
}

// login writes what `docker login` does.
func (s server) login(t testing.TB, dir, account string) {
	t.Helper()
	text := "{}"
	if account != "" {
		text = fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, s.host, base64.StdEncoding.EncodeToString([]byte(account)))
	}
	write(t, filepath.Join(dir, "config.json"), text)
}

// skopeo runs it without anything of this machine's configuration.
func skopeo(t testing.TB, args ...string) []byte {
	t.Helper()
	home := t.TempDir()
	write(t, filepath.Join(home, "policy.json"), `{"default":[{"type":"insecureAcceptAnything"}]}`)
	cmd := exec.Command(tooltest.Need(t, "skopeo"), append([]string{"--policy", filepath.Join(home, "policy.json"), "--tmpdir", home}, args...)...)
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + home}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo %q: %v\n%s", args, err, &stderr)
	}
	return out
}

func unzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return b // a layer need not be compressed
	}
	if b, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return b
}

// untar returns the regular files of an archive.
func untar(t testing.TB, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
