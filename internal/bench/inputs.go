package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/talosmith/talosmith/internal/cli"
	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// inputs are what the programs are given: files, unpacked. In their folder:
//
//	ext/<n>/           an extension's root without firmware and microcode
//	stage/             what is beside the squashfs images in the initramfs: extensions.yaml and firmware
//	early/             microcode as in the initramfs's first archive
//	vmlinuz, base, stub, sdboot  of the release
//	installer          the compressed layer of installer-base
type inputs struct {
	dir   string
	Names []string // of the extensions
	Sizes []int64  // of their files, in bytes
}

// largest is the index of the extension with the most bytes.
func (i *inputs) largest() (at int) {
	for n, size := range i.Sizes {
		if size > i.Sizes[at] {
			at = n
		}
	}
	return at
}

// size is that of all extensions' files, in bytes.
func (i *inputs) size() (sum float64) {
	for _, size := range i.Sizes {
		sum += float64(size)
	}
	return sum
}

// ext is the folder of an extension's files.
func ext(dir string, n int) string { return filepath.Join(dir, "ext", strconv.Itoa(n)) }

// lay lays the inputs of the profile out, once.
func (b *bench) lay(ctx context.Context) (in *inputs, err error) {
	if b.inputs == nil {
		b.inputs, err = b.layOut(ctx, b.profile(), b.path("in"))
	}
	return b.inputs, err
}

// layOut lays the inputs of a profile out in a folder.
func (b *bench) layOut(ctx context.Context, profile, dir string) (*inputs, error) {
	b.log("unpacking the release for the programs")
	in := &inputs{dir: dir}
	_, err := b.do(ctx, job{Lay: &layJob{Profile: profile, Mirrors: b.release.address, Cache: b.path("cache"), To: dir}}, in)
	return in, err
}

// layJob resolves a profile of one image and unpacks all that it names.
type layJob struct{ Profile, Mirrors, Cache, To string }

func (j layJob) run(ctx context.Context) error {
	p, diags := profile.Load(j.Profile, profile.Options{Env: os.LookupEnv})
	if diags.HasErrors() {
		return diags
	}
	mirrors, err := source.ParseMirrors(j.Mirrors)
	if err != nil {
		return err
	}
	src := source.New(source.Options{Cache: filepath.Join(j.Cache, "downloads"), Mirrors: mirrors})
	res, _, diags := imager.Resolve(ctx, p, imager.Request{}, src)
	if diags.HasErrors() {
		return diags
	}
	if len(res.Targets) != 1 {
		return fmt.Errorf("%s has %d images, one can be compared", j.Profile, len(res.Targets))
	}
	l := layer{ctx: ctx, src: src, to: j.To, facts: res.Targets[0].Facts}
	for _, e := range res.Targets[0].Extensions {
		if err := l.extension(e); err != nil {
			return fmt.Errorf("extension %s: %w", e.Name, err)
		}
	}
	if err := l.rest(res); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l.inputs)
}

// layer lays inputs out.
type layer struct {
	ctx    context.Context
	src    *source.Sources
	to     string
	facts  talos.Facts
	inputs inputs
	list   []extension.Layer
}

// never is a time that nothing is newer than.
var never = time.Unix(math.MaxUint32, 0)

func (l *layer) extension(e imager.Extension) error {
	return l.with(e.Artifact, nil, func(t *tree.Tree) error {
		ext1, err := extension.Load(t)
		if err != nil {
			return err
		}
		parts, err := ext1.Parts(l.facts, never)
		if err != nil {
			return err
		}
		n := len(l.list)
		l.list = append(l.list, extension.Layer{Image: strconv.Itoa(n) + ".sqsh", Metadata: ext1.Manifest.Metadata})
		l.inputs.Names = append(l.inputs.Names, e.Name)
		var bytes int64
		for f := range parts.Squashfs.All() {
			bytes += f.Size()
		}
		l.inputs.Sizes = append(l.inputs.Sizes, bytes)
		err = writeTree(ext(l.to, n), parts.Squashfs)
		if parts.Firmware != nil {
			err = errors.Join(err, writeTree(filepath.Join(l.to, "stage"), parts.Firmware))
		}
		const early = "early/kernel/x86/microcode"
		return errors.Join(err, l.append(early+"/GenuineIntel.bin", parts.IntelUcode), l.append(early+"/AuthenticAMD.bin", parts.AMDUcode))
	})
}

// rest lays out what is not an extension's.
func (l *layer) rest(res *imager.Resolution) error {
	list, err := extension.WriteExtensionsYAML(l.list)
	if err != nil {
		return err
	}
	if err := l.append("stage/extensions.yaml", []tree.Blob{tree.Bytes(list)}); err != nil {
		return err
	}
	names := map[string]string{l.facts.Kernel: "vmlinuz", l.facts.Initramfs: "base", l.facts.SDStub: "stub", l.facts.SDBoot: "sdboot"}
	keep := func(p string) bool { _, ok := names[p]; return ok }
	err = l.with(res.Imager, keep, func(t *tree.Tree) error {
		for from, to := range names {
			n, ok := t.Lookup(from)
			if !ok {
				return fmt.Errorf("%s has no %s", res.Imager.Ref, from)
			}
			if err := l.append(to, []tree.Blob{n.Content}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	base, err := l.src.Layer(l.ctx, res.Targets[0].Installer, 0)
	if err != nil {
		return err
	}
	return l.append("installer", []tree.Blob{base})
}

// with unpacks an artifact for the time of fn.
func (l *layer) with(a *source.Artifact, keep func(string) bool, fn func(*tree.Tree) error) error {
	spool, err := os.CreateTemp("", "talosmith-")
	if err != nil {
		return err
	}
	t, err := l.src.Tree(l.ctx, a, keep, spool)
	if err == nil {
		err = fn(t)
	}
	return errors.Join(err, spool.Close(), os.Remove(spool.Name()))
}

// append adds contents to a file.
func (l *layer) append(name string, contents []tree.Blob) error {
	if len(contents) == 0 {
		return nil
	}
	name = filepath.Join(l.to, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, c := range contents {
		r, err := c.Open()
		if err == nil {
			_, err = io.Copy(f, r)
			err = errors.Join(err, r.Close())
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// writeTree writes a tree into a folder, without owners and attributes.
func writeTree(dir string, t *tree.Tree) error {
	for n := range t.All() {
		name := filepath.Join(dir, filepath.FromSlash(n.Path))
		var err error
		switch {
		case n.Mode.IsDir():
			err = os.MkdirAll(name, 0o755)
		case n.Mode.Type() == fs.ModeSymlink:
			err = os.Symlink(n.Link, name)
		case n.IsHardLink():
			err = os.Link(filepath.Join(dir, filepath.FromSlash(n.Link)), name)
		default:
			err = writeFile(name, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeFile(name string, n tree.Node) error {
	r, err := n.Content.Open()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, n.Mode.Perm()|0o200)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, r.Close(), f.Close())
}

// What profiles say of the disk: what the measures are for, as the official imager makes it unasked; and the repository's own.
const (
	defaultDisk = `output "disk" {}`
	rawDisk     = "output \"disk\" {\n    size        = \"8GiB\"\n    compression = \"none\"\n  }"
	rawDiskSize = 8 << 30 // bytes
)

// variant is a profile in a folder of its own: the repository's with the default disk, changed by pairs of old and new text.
func (b *bench) variant(name string, change ...string) (string, error) {
	text, err := os.ReadFile(b.Profile)
	if err != nil {
		return "", err
	}
	s := string(text)
	change = append([]string{rawDisk, defaultDisk}, change...)
	for i := 0; i < len(change); i += 2 {
		var found bool
		if s, found = replace(s, change[i], change[i+1]); !found {
			return "", fmt.Errorf("%s has no %q, which is to be changed for the measures", b.Profile, change[i])
		}
	}
	dir := b.path(name)
	if err := os.CopyFS(filepath.Join(dir, examples), os.DirFS(filepath.Join(filepath.Dir(b.Profile), examples))); err != nil {
		return "", err
	}
	file := filepath.Join(dir, "extensions.hcl")
	return file, os.WriteFile(file, []byte(s), 0o644)
}

// examples is the folder that the profile's own extension is in.
const examples = "examples"

// withInitramfs is the change of a profile that makes the initramfs an output.
var withInitramfs = []string{`output "iso" {}`, "output \"iso\" {}\n  output \"initramfs\" {}"}

// profile is the repository's with the default disk, and the initramfs as another output.
func (b *bench) profile() string { return b.path("profile", "extensions.hcl") }

// prepare serves the release that the profile is for, and copies the profile.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	if b.version, err = cli.TalosVersion(b.Profile); err != nil {
		return err
	}
	if _, err := b.variant("profile", withInitramfs...); err != nil {
		return err
	}
	if err := os.Mkdir(b.path("tmp"), 0o755); err != nil {
		return err
	}
	b.release, err = b.serve(ctx, b.version)
	return err
}

// replace replaces the first occurrence of a text.
func replace(s, old, by string) (_ string, found bool) {
	return strings.Replace(s, old, by, 1), strings.Contains(s, old)
}
