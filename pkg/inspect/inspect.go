// Package inspect tells what a Talos boot artefact is made of, whoever made it, and how two of them differ.
//
// What an artefact is, its content says, never its name. From the outside inwards:
//
//	gzip, xz, zstd; tar, OVA; qcow2, VMDK, VHD      unpacked into a sparse temporary file, or read where they lie
//	disk (GPT) ─► partitions ─► FAT, XFS ─┐
//	ISO 9660 ─► tree, ESP (FAT) ──────────┼─► boot loaders, UKI, grub.cfg ─► kernel, command line, initramfs
//	image (OCI, docker) ─► usr/install ───┘        initramfs ─► segments ─► microcode, firmware, squashfs layers ─► files
//
// [Open] reads structures and hashes what boots; the files within layers are read by [Artefact.Files] and [Diff] alone. Nothing is
// trusted: sizes, paths and counts that an artefact gives are checked, what is kept in memory and what is unpacked is bounded.
// What could not be read is one of [Report.Problems].
//
// # Not supported
//
// BIOS disks with an MBR alone, what is on STATE, EPHEMERAL and in an image cache; signatures are
// found, not checked. Of several initramfs that differ one is looked into: that which boots by default.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Options of [Open]. The zero value is good for files.
type Options struct {
	// Sources resolve registry references; without them those are refused.
	Sources *source.Sources
	// Arch is the architecture of an image that there are several of; by default amd64, else arm64. What is for another one is refused.
	Arch string
	// AllFiles are those of an image that nothing boots, too: for [Artefact.Files] and [Diff] to be complete.
	AllFiles bool
	// Temp is the folder for temporary files; by default the system's.
	Temp string
}

// Artefact is one that is open: its report, its files and its parts.
type Artefact struct {
	Report Report

	name    string // as it was asked for
	o       Options
	lim     limits
	closers []func() error
	disk    content // nil: it is none
	parts   []part
	layers  []*layer
	boots   []boot
	names   map[string]int // of layers
	nodes   int            // of all layers
	found   int            // files that boot
	hashed  int64          // bytes
}

// Open opens an artefact: a file, the folder of an OCI layout or of an extension, or a registry reference. A file may be an archive
// of several images, and one of them named by ":TAG" or "@DIGEST" behind it. The caller closes it; until then the context must live,
// since contents are read when they are asked for.
func Open(ctx context.Context, ref string, o Options) (*Artefact, error) {
	return newArtefact(printable(ref), o).open(ctx, func(a *Artefact) error { return a.openRef(ctx, ref) })
}

func newArtefact(name string, o Options) *Artefact {
	return &Artefact{name: name, o: o, lim: defaultLimits, names: map[string]int{}, Report: newReport()}
}

func (a *Artefact) open(ctx context.Context, read func(*Artefact) error) (*Artefact, error) {
	err := read(a)
	if err == nil {
		err = a.finish(ctx)
	}
	if got := a.Report.Architecture; err == nil && a.o.Arch != "" && got != "" && got != a.o.Arch {
		err = fmt.Errorf("it is for %s, not for %s", got, a.o.Arch)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inspect %s: %w", a.name, err), a.Close())
	}
	return a, nil
}

// Inspect opens an artefact for its report alone.
func Inspect(ctx context.Context, ref string, o Options) (*Report, error) {
	a, err := Open(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	return &a.Report, a.Close()
}

// Close removes what was unpacked.
func (a *Artefact) Close() error {
	var errs []error
	for _, c := range a.closers {
		errs = append(errs, c())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// temp makes a temporary file. Its name goes at once where the system allows that, so that a killed run leaves nothing.
func (a *Artefact) temp() (*os.File, error) {
	f, err := os.CreateTemp(a.o.Temp, "talosmith-inspect-*")
	if err != nil {
		return nil, err
	}
	removed := os.Remove(f.Name()) == nil
	a.closers = append(a.closers, func() error {
		if err := f.Close(); err != nil || removed {
			return err
		}
		return os.Remove(f.Name())
	})
	return f, nil
}

func (a *Artefact) openRef(ctx context.Context, ref string) error {
	st, err := os.Stat(ref)
	switch {
	case err == nil && st.IsDir():
		return a.openDir(ctx, ref)
	case err == nil && !st.Mode().IsRegular():
		return errors.New("not a regular file")
	case err == nil:
		f, err := os.Open(ref)
		if err != nil {
			return err
		}
		a.closers = append(a.closers, f.Close)
		a.Report.Size = st.Size()
		return a.openFile(ctx, section(f, 0, st.Size()), ref)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if selected(ref) {
		return a.openArchive(ctx, source.Ref{OCILayout: ref})
	}
	return a.openRegistry(ctx, ref)
}

// content is what can be read from anywhere.
type content interface {
	tree.Blob
	io.ReaderAt
}

func section(r io.ReaderAt, off, size int64) content {
	return tree.Section(r, off, size).(content)
}

// problem notes what could not be read.
func (a *Artefact) problem(format string, args ...any) {
	a.Report.Problems = append(a.Report.Problems, printable(fmt.Sprintf(format, args...)))
}

func (a *Artefact) note(format string, args ...any) {
	a.Report.Notes = append(a.Report.Notes, printable(fmt.Sprintf(format, args...)))
}
