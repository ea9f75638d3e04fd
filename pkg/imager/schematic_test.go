package imager_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/schematic"
)

const embedding = `
talos {
  version         = "v1.13.9"
  embed_schematic = true
}
image "metal" {
  extensions      = ["siderolabs/tiny"]
  kernel_args     = ["vga=791"]
  embedded_config = "version: v1alpha1\nmachine: {token: a-secret}"
  output "initramfs" {}
  output "disk" {
    meta        = { network = "on" }
    bootloader  = "sd-boot"
    compression = "none"
  }
}
`

// member reads a file of an initramfs.
func member(t *testing.T, initrd []byte, name string) (content []byte) {
	t.Helper()
	segments, err := initramfs.Segments(bytes.NewReader(initrd), int64(len(initrd)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		err := initramfs.Walk(s, func(m initramfs.Member) (err error) {
			if m.Path == name {
				content, err = io.ReadAll(m.Content)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return content
}

// TestEmbedSchematic looks for the virtual extension where Talos does, and in what tells of an image. No store keeps it.
func TestEmbedSchematic(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	p := r.profile(embedding)
	all, diags, err := imager.Schematics(p, "metal")
	if err != nil || len(diags) > 0 || len(all) != 1 {
		t.Fatal(err, diags, all)
	}
	s := all[0]
	const text = "customization:\n    embeddedMachineConfiguration: |-\n        version: v1alpha1\n        machine: {token: a-secret}\n    extraKernelArgs:\n        - vga=791\n    meta:\n        - key: 10\n          value: \"on\"\n" +
		"    systemExtensions:\n        officialExtensions:\n            - siderolabs/tiny\n    bootloader: sd-boot\n"
	if s.Text != text {
		t.Errorf("schematic\n%s", s.Text)
	}
	m := r.build(embedding, imager.Request{})
	for _, a := range m.Artefacts {
		if len(a.Extensions) != 3 || a.Extensions[1] != (imager.ArtefactExtension{ID: "1", Name: "schematic", Version: s.ID}) {
			t.Errorf("%s: %+v", a.File, a.Extensions)
		}
	}
	b := r.read("metal-amd64-initramfs.xz")
	files := `drwxr-xr-x 0:0 . ""
drwxr-xr-x 0:0 usr ""
drwxr-xr-x 0:0 usr/local ""
drwxr-xr-x 0:0 usr/local/share ""
drwxr-xr-x 0:0 usr/local/share/schematic ""
-rw-r--r-- 0:0 usr/local/share/schematic/` + s.ID + ` ""
`
	if got := layer(t, b, "1.sqsh"); got != files {
		t.Errorf("layer\n%s", got)
	}
	entry := `    - image: 1.sqsh
      metadata:
        name: schematic
        version: ` + s.ID + `
        author: Image Factory (https://factory.talos.dev/)
        description: Virtual extension which specifies the schematic of the image built with schematic.
        compatibility:
            talos:
                version: '>= 1.0.0'
        extraInfo: |
            ` + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n            ") + "\n"
	if !strings.Contains(string(member(t, b, "extensions.yaml")), "name: tiny\n") || !strings.Contains(string(member(t, b, "extensions.yaml")), entry+"    - image: 2.sqsh\n      metadata:\n        name: embedded-config\n") {
		t.Errorf("extensions.yaml\n%s", member(t, b, "extensions.yaml"))
	}
	if n := r.ran["squashfs"]; n != 1 {
		t.Errorf("%d layers went through the store", n)
	}
	r.check(filepath.WalkDir(filepath.Join(r.dir, "store"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if bytes.Contains(content, []byte("a-secret")) || bytes.Contains(content, []byte(s.ID)) {
			t.Errorf("the store has the schematic, in %s", name)
		}
		return err
	}))
	res, jobs, diags := imager.Resolve(context.Background(), p, imager.Request{}, r.src)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	d, err := imager.Describe(res, jobs, nil, nil)
	if err != nil || len(d.Images[0].Extensions) != 3 || *d.Images[0].Extensions[1].Version != s.ID || d.Images[0].Extensions[1].ID != "1" {
		t.Errorf("%v: %+v", err, d)
	}
}

// TestEmbeddedAlone: an image without any extension gets one, and Talos before 1.7 is not told the text.
func TestEmbeddedAlone(t *testing.T) {
	t.Parallel()
	for version, told := range map[string]bool{"v1.13.9": true, "v1.6.8": false} {
		r := newWorld(t, version).run()
		r.build("talos {\n  version = \""+version+"\"\n  embed_schematic = true\n}\nimage \"metal\" {\n  output \"initramfs\" {}\n}\n", imager.Request{})
		yaml := string(member(t, r.read("metal-amd64-initramfs.xz"), "extensions.yaml"))
		const empty = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
		if !strings.Contains(yaml, "- image: 0.sqsh\n") || !strings.Contains(yaml, "version: "+empty) || strings.Contains(yaml, "extraInfo: |\n            customization: {}\n") != told {
			t.Errorf("%s\n%s", version, yaml)
		}
	}
}

const unsayable = `talos {
  version              = "v1.13.9"
  registry             = "registry.corp/siderolabs"
  embed_schematic      = true
  allow_mixed_releases = true
}
base {
  version = "v1.13.9-acme"
}
extension "motd" {
  version = "1"
  files   = { "/usr/local/etc/motd" = { content = "x" } }
}
image "metal" {
  extensions = ["siderolabs/tiny", extension.motd]
  splash     = "extensions.hcl"
  meta       = { network = "x" }
  overlay {
    name = "rpi_genric"
  }
  output "iso" {
    bootloader = "sd-boot"
  }
  output "disk" {
    meta = { uuid = "y" }
  }
  output "disk" {
    bootloader  = "sd-boot"
    format      = "qcow2"
    sector_size = 4096
  }
}
image "other" {
  overlay {
    name  = "rpi_5"
    image = "registry.corp/sbc:1"
  }
  output "iso" {}
}
`

// TestUnsayable lists what no schematic can say: each at its place, and together where the schematic is asked for.
func TestUnsayable(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	p := r.profile(unsayable)
	_, diags, err := imager.Schematics(p, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range diags {
		got = append(got, strings.TrimPrefix(d.Error(), r.dir+"/"))
	}
	want := []string{
		`extensions.hcl:3,26-52: Not a schematic; Talos comes from registry.corp/siderolabs here; the Factory takes it from ghcr.io/siderolabs.`,
		`extensions.hcl:5,26-30: Not a schematic; Extensions may be of several Talos releases here; the Factory takes them from the catalogue of one.`,
		`extensions.hcl:7,1-5: Not a schematic; The base is not the release, which is all that the Factory builds of.`,
		`extensions.hcl:15,36-50: Not a schematic; The extension motd is declared in the profile, and the Factory has official ones alone.`,
		`extensions.hcl:16,16-32: Not a schematic; The Factory has Talos's own boot splash alone.`,
		`extensions.hcl:19,12-24: Not a schematic; A schematic has the overlay's image, too: unknown overlay "rpi_genric": did you mean "rpi_generic"?`,
		`extensions.hcl:24,3-16: Not a schematic; The boot loader is another one than that of an output before, and a schematic has one for all: give all ISOs and disks the same, or none any.`,
		`extensions.hcl:25,12-26: Not a schematic; The META values are others than those of an output before, and a schematic has the same for all.`,
		`extensions.hcl:30,19-23: Not a schematic; The sectors have another size than those of a disk before, and a schematic has one for all: give all disks the same, or none any.`,
		`extensions.hcl:36,13-34: Not a schematic; The overlay comes from a place of its own; the Factory finds official ones by their name.`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	for name, diags := range map[string]func() (text string, at string){
		"Validate": func() (string, string) {
			d := imager.Validate(context.Background(), p)
			return d.Error(), d[0].Subject.String()
		},
		"Resolve": func() (string, string) {
			_, _, d := imager.Resolve(context.Background(), p, imager.Request{Image: "metal"}, r.src)
			return d.Error(), d[0].Subject.String()
		},
	} {
		text, at := diags()
		if !strings.HasSuffix(at, "extensions.hcl:4,26-30") || !strings.Contains(text, "\n  extensions.hcl:15: The extension motd is declared") || !strings.Contains(text, "\n  extensions.hcl:25: The META") {
			t.Errorf("%s at %s: %s", name, at, text)
		}
	}
}

// TestOfOutputs: only outputs that can have a boot loader or META values have a say about them.
func TestOfOutputs(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	for text, want := range map[string]string{
		`output "installer" {}`: "customization: {}\n",
		"output \"iso\" {}\noutput \"disk\" {\nsector_size = 4096\n}\noutput \"disk\" {\nformat = \"qcow2\"\nsector_size = 4096\n}": "customization:\n    diskImage:\n        sectorSize: 4096\n",
		"meta = { 12 = \"a\", \"0xb\" = \"b\" }\noutput \"kernel\" {}\noutput \"iso\" {}\n":                                         "customization:\n    meta:\n        - key: 11\n          value: b\n        - key: 12\n          value: a\n",
		"output \"iso\" {\nbootloader = \"dual-boot\"\n}\noutput \"disk\" {\nbootloader = \"dual-boot\"\n}\noutput \"uki\" {}":      "customization:\n    bootloader: dual-boot\n",
		"architectures = [\"arm64\"]\noverlay {\nname = \"rpi_5\"\noptions = { n = 1, f = 1.5, l = [true, null], m = { b10 = \"on\", b9 = \"x\" } }\n}\noutput \"disk\" {}": "overlay:\n    image: siderolabs/sbc-raspberrypi\n    name: rpi_5\n    options:\n        f: 1.5\n        l:\n            - true\n            - null\n" +
			"        m:\n            b9: x\n            b10: \"on\"\n        \"n\": 1\ncustomization: {}\n",
	} {
		p := r.profile("talos {\n  version = \"v1.13.9\"\n}\nimage \"x\" {\n" + text + "\n}\n")
		s, unsaid := schematic.Of(p, p.Images[0])
		b, err := s.Encode()
		if err != nil || len(unsaid) > 0 || string(b) != want {
			t.Errorf("%s\n%v %v\n%s", text, err, unsaid, b)
		}
	}
}
