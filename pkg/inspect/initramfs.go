package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// membersLayer are the files of the initramfs itself.
const membersLayer = "initramfs"

// rootImage is Talos's root file system in the initramfs.
const rootImage = "rootfs.sqsh"

func (a *Artefact) openInitramfs(c content) error {
	a.Report.Kind = KindInitramfs
	a.addBoot(boot{initrd: c})
	return nil
}

// unpacked is what the kernel unpacks: of two members of one name it keeps the later.
type unpacked struct {
	a     *Artefact
	spool *spool

	files     map[string]File
	pathBytes int
	bytes     int64
	images    map[string]stored // squashfs
	list      tree.Blob         // extensions.yaml
	init      []byte            // the start of /init
	damaged   int               // layers
}

// stored is content with its hash.
type stored struct {
	content
	sum string
}

// readInitramfs reads an initramfs once, keeps what it needs in a temporary file, and looks into the layers.
func (a *Artefact) readInitramfs(ctx context.Context, b boot) error {
	c, err := a.readerAt(ctx, b.initrd)
	if err != nil {
		return err
	}
	sum := b.initrdSum
	if sum == "" {
		if sum, err = a.digest(ctx, c); err != nil {
			return err
		}
	}
	a.Report.Initramfs = &Initramfs{Content: Content{Size: c.Size(), SHA256: sum}, Segments: []Segment{}}
	u := &unpacked{a: a, files: map[string]File{}, images: map[string]stored{}}
	if u.spool, err = a.newSpool(); err != nil {
		return err
	}
	segments, err := initramfs.Segments(c, c.Size())
	if err != nil {
		a.problem("initramfs: %v", err)
	}
	if len(segments) > a.lim.segments {
		return fmt.Errorf("initramfs: %w: %d segments, more than %d", errLimit, len(segments), a.lim.segments)
	}
	for _, s := range segments {
		members := 0
		if err := initramfs.Walk(s, func(m initramfs.Member) error {
			members++
			return u.add(ctx, m)
		}); errors.Is(err, errLimit) {
			return err
		} else if err != nil {
			a.problem("initramfs: %v", err)
		}
		a.Report.Initramfs.Segments = append(a.Report.Initramfs.Segments, Segment{s.Offset, s.Size, string(s.Compression), members})
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return u.finish(ctx)
}

// add takes a member.
func (u *unpacked) add(ctx context.Context, m initramfs.Member) error {
	lim := u.a.lim
	if u.pathBytes += len(m.Path) + len(m.Link); u.pathBytes > lim.paths || len(u.files) >= lim.nodes {
		return fmt.Errorf("%w: more than %d files or %d bytes of paths", errLimit, lim.nodes, lim.paths)
	}
	if u.bytes += m.Size; u.bytes > lim.unpacked {
		return fmt.Errorf("%w: unpacks to more than %d bytes", errLimit, lim.unpacked)
	}
	f := File{Path: m.Path, Mode: Mode(m.Mode), UID: m.UID, GID: m.GID, Size: m.Size, Link: m.Link}
	delete(u.images, m.Path)
	if !m.Mode.IsRegular() {
		f.Size = 0
		u.files[m.Path] = f
		return context.Cause(ctx)
	}
	h := sha256.New()
	in := io.TeeReader(contextReader{ctx, m.Content}, h)
	switch {
	case path.Ext(m.Path) == ".sqsh" || strings.HasPrefix(m.Path, microcodeDir):
		c, err := u.spool.add(ctx, m.Content, h)
		if err != nil {
			return err
		}
		u.images[m.Path] = stored{c, hexSum(h)}
	case m.Path == "extensions.yaml":
		b, err := io.ReadAll(io.LimitReader(in, maxExtensionsYAML+1))
		if err == nil && len(b) > maxExtensionsYAML {
			err = fmt.Errorf("extensions.yaml has more than %d bytes", maxExtensionsYAML)
		}
		if err != nil {
			return err
		}
		u.list = tree.Bytes(b)
	default:
		if m.Path == "init" {
			u.init = make([]byte, min(m.Size, 64))
			if _, err := io.ReadFull(in, u.init); err != nil {
				return err
			}
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			return err
		}
	}
	f.SHA256 = hexSum(h)
	u.files[m.Path] = f
	return nil
}

const (
	maxExtensionsYAML = 4 << 20
	microcodeDir      = "kernel/x86/microcode/"
)

// finish makes the report of what was unpacked.
func (u *unpacked) finish(ctx context.Context) error {
	a := u.a
	members := &layer{name: membersLayer}
	for _, f := range u.files {
		members.list = append(members.list, f)
	}
	slices.SortFunc(members.list, func(x, y File) int { return tree.Compare(x.Path, y.Path) })
	if err := a.addLayer(members); err != nil {
		return err
	}
	firmware := Sum{}
	for _, f := range members.list {
		switch {
		case !f.Mode.isRegular():
		case strings.HasPrefix(f.Path, microcodeDir):
			a.Report.Microcode = append(a.Report.Microcode, Content{f.Path, f.Size, f.SHA256})
			a.addPart("microcode/"+path.Base(f.Path), u.images[f.Path])
		case strings.HasPrefix(f.Path, "usr/lib/firmware/") || strings.HasPrefix(f.Path, "lib/firmware/"):
			firmware.Files++
			firmware.Size += f.Size
		}
	}
	if firmware.Files > 0 {
		a.Report.Firmware = &firmware
	}
	if a.Report.Architecture == "" {
		a.Report.Architecture = elfArch(u.init)
	}
	root, err := u.addRoot()
	if err != nil {
		return err
	}
	exts, err := u.addExtensions(ctx)
	if err != nil {
		return err
	}
	a.addModules(append([]*layer{root}, exts...))
	return nil
}

func elfArch(b []byte) string {
	if len(b) < 20 || string(b[:4]) != elf.ELFMAG {
		return ""
	}
	switch elf.Machine(uint16(b[18]) | uint16(b[19])<<8) {
	case elf.EM_X86_64:
		return talos.AMD64
	case elf.EM_AARCH64:
		return talos.ARM64
	}
	return ""
}

// addRoot looks into Talos's root file system.
func (u *unpacked) addRoot() (*layer, error) {
	image, ok := u.images[rootImage]
	if !ok {
		u.a.note("the initramfs has no %s", rootImage)
		return nil, nil
	}
	u.a.addPart("layers/"+rootImage, image)
	l, _, err := u.addLayer("rootfs", image)
	if l == nil {
		return nil, err
	}
	if n, ok := fileIn(l.files, "usr/lib/os-release", "etc/os-release"); ok {
		text, err := readText(n.Content)
		if err != nil {
			u.a.problem("rootfs: %s: %v", n.Path, err)
		}
		if v := osReleaseVersion(text); v != "" && u.a.Report.Talos == "" {
			u.a.Report.Talos = v
		}
	}
	return l, nil
}

// addLayer adds a squashfs image. It returns nil for one that is damaged.
func (u *unpacked) addLayer(name string, image stored) (*layer, squashfs.Compression, error) {
	r, err := squashfs.NewReader(image)
	if err == nil {
		var t *tree.Tree
		if t, err = r.Tree(); err == nil {
			l := &layer{name: name, files: t, sum: image.sum}
			return l, r.Compression(), u.a.addLayer(l)
		}
	}
	u.a.problem("layer %s: %v", name, err)
	if u.damaged++; u.damaged > u.a.lim.damaged {
		return nil, "", fmt.Errorf("%w: more than %d damaged layers", errLimit, u.a.lim.damaged)
	}
	return nil, "", nil
}

// imageName is what the name of a layer's file may be for it to be written out.
var imageName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}$`)

func (u *unpacked) addExtensions(ctx context.Context) ([]*layer, error) {
	a := u.a
	if u.list == nil {
		return nil, nil
	}
	a.addPart("extensions.yaml", u.list)
	text, err := tree.ReadAll(u.list)
	if err != nil {
		return nil, err
	}
	list, err := extension.ParseExtensionsYAML(text)
	if err != nil {
		a.problem("initramfs: %v", err)
		return nil, nil
	}
	var layers []*layer
	used := map[string]bool{rootImage: true}
	for _, e := range list {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		name := path.Clean(strings.TrimLeft(e.Image, "/"))
		x := newExtension(e.Metadata)
		x.Layer = name
		image, ok := u.images[name]
		if !ok {
			a.problem("extension %s: its layer %s is not there", x.Name, name)
			a.Report.Extensions = append(a.Report.Extensions, x)
			continue
		}
		x.Size, x.SHA256 = image.Size(), image.sum
		if !used[name] && imageName.MatchString(name) {
			a.addPart("layers/"+name, image)
		}
		used[name] = true
		l, compression, err := u.addLayer(x.Name, image)
		if err != nil {
			return nil, err
		}
		if l != nil {
			x.Compression = string(compression)
			x.Files, x.Unpacked = count(l.files)
			layers = append(layers, l)
			a.addConfiguration(ctx, l)
		}
		a.Report.Extensions = append(a.Report.Extensions, x)
		a.addSchematic(e.Metadata)
	}
	for name := range u.images {
		if !used[name] && path.Ext(name) == ".sqsh" {
			a.note("%s is not in extensions.yaml: it is not mounted", name)
		}
	}
	slices.Sort(a.Report.Notes)
	return layers, nil
}

func newExtension(m extension.Metadata) Extension {
	x := Extension{Name: m.Name, Version: m.Version, Author: m.Author, Description: strings.TrimSpace(m.Description)}
	x.Tier = talos.Tier(x.Description)
	return x
}

func count(t *tree.Tree) (files int, size int64) {
	for n := range t.All() {
		if !n.Mode.IsDir() {
			files++
		}
		if n.Mode.IsRegular() && !n.IsHardLink() {
			size += n.Size()
		}
	}
	return files, size
}

// The virtual extension of the imager: initramfs.md; siderolabs/talos pkg/imager/embed.go.
const (
	configName = "embedded-config"
	configPath = "usr/local/etc/talos/config.yaml"
)

func (a *Artefact) addSchematic(m extension.Metadata) {
	if m.Name != extension.SchematicName || a.Report.Schematic != nil {
		return
	}
	a.Report.Schematic = &Schematic{ID: m.Version, Body: m.ExtraInfo}
	if m.ExtraInfo == "" {
		return
	}
	a.addPart("schematic.yaml", tree.String(m.ExtraInfo))
	if sum := sha256.Sum256([]byte(m.ExtraInfo)); fmt.Sprintf("%x", sum) != m.Version {
		a.note("the schematic's body does not give its ID, but %x", sum)
	}
}

func (a *Artefact) addConfiguration(ctx context.Context, l *layer) {
	n, ok := l.files.Lookup(configPath)
	if !ok || !n.Mode.IsRegular() {
		return
	}
	f, err := a.file(ctx, configPath, n.Content)
	if err != nil {
		a.problem("layer %s: %s: %v", l.name, configPath, err)
		return
	}
	a.Report.Configuration = &f
}

// addModules tells the kernel modules of each release, from the topmost layer that has a list of them.
func (a *Artefact) addModules(layers []*layer) {
	at := map[string]int{}
	for _, l := range layers {
		if l == nil {
			continue
		}
		for _, dir := range []string{"usr/lib/modules", "lib/modules"} {
			for d := range l.files.Children(dir) {
				n, ok := l.files.Lookup(d.Path + "/modules.dep")
				if !ok || !n.Mode.IsRegular() {
					continue
				}
				m := Modules{Release: d.Name(), Layer: l.name}
				var err error
				if m.Count, err = countLines(n); err != nil {
					a.problem("layer %s: %s: %v", l.name, n.Path, err)
				}
				i, ok := at[m.Release]
				if !ok {
					i = len(a.Report.Modules)
					at[m.Release] = i
					a.Report.Modules = append(a.Report.Modules, Modules{})
				}
				a.Report.Modules[i] = m
			}
		}
	}
}

// maxModulesDep is above any kernel's modules.dep, in bytes.
const maxModulesDep = 64 << 20

func countLines(n tree.Node) (lines int, err error) {
	if n.Size() > maxModulesDep {
		return 0, fmt.Errorf("%d bytes, more than %d", n.Size(), maxModulesDep)
	}
	r, err := n.Content.Open()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for {
		k, err := r.Read(buf)
		lines += bytes.Count(buf[:k], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return lines, r.Close()
		}
		if err != nil {
			return lines, errors.Join(err, r.Close())
		}
	}
}
