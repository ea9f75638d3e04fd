package inspect

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/vmdisk"
)

// maxPacked is how many containers may lie around an artefact, as in disk.vmdk in an .ova in a .gz.
const maxPacked = 4

// sniffSize is what the start of a file has to show: an ISO's descriptor ends there.
const sniffSize = 34 << 10

// form is what the first bytes of a file say.
type form string

const (
	formGzip      form = "gzip"
	formXZ        form = "xz"
	formZstd      form = "zstd"
	formTar       form = "tar"
	formQCOW2     form = "qcow2"
	formVMDK      form = "vmdk"
	formVHD       form = "vhd"
	formISO       form = "iso"
	formDisk      form = "disk"
	formPE        form = "pe"
	formKernel    form = "kernel"
	formInitramfs form = "initramfs"
	formText      form = "text"
	formUnknown   form = ""
)

var magics = []struct {
	form
	at    int
	magic string
}{
	{formISO, 32769, "CD001"}, // before a disk: a hybrid image is both
	{formDisk, 512, "EFI PART"},
	{formDisk, 4096, "EFI PART"},
	{formGzip, 0, "\x1f\x8b"},
	{formXZ, 0, "\xfd7zXZ\x00"},
	{formZstd, 0, "\x28\xb5\x2f\xfd"},
	{formQCOW2, 0, "QFI\xfb"},
	{formVMDK, 0, "KDMV"},
	{formVHD, 0, "conectix"}, // a dynamic one
	{formTar, 257, "ustar"},
	{formInitramfs, 0, "07070"},
	{formKernel, 0x202, "HdrS"},     // x86: https://docs.kernel.org/arch/x86/boot.html
	{formKernel, 0x38, "ARM\x64"},   // https://docs.kernel.org/arch/arm64/booting.html
	{formKernel, 4, "zimg\x00\x00"}, // Linux drivers/firmware/efi/libstub/zboot-header.S
	{formPE, 0, "MZ"},
}

// sniff tells what begins with these bytes.
func sniff(b []byte) form {
	for _, m := range magics {
		if len(b) >= m.at && bytes.HasPrefix(b[m.at:], []byte(m.magic)) {
			return m.form
		}
	}
	if len(b) > 0 && len(b) <= maxCmdline && strings.Contains(string(b), "talos.platform=") {
		return formText
	}
	return formUnknown
}

// maxCmdline is the size in bytes up to which a text can be a command line.
const maxCmdline = 16 << 10

// openFile opens whatever a file holds. The name is the file's, for archives, which are read again; it is empty for what lies
// inside of something.
func (a *Artefact) openFile(ctx context.Context, c content, name string) error {
	if len(a.Report.Packed) > maxPacked {
		return fmt.Errorf("more than %d containers around each other: %s", maxPacked, strings.Join(a.Report.Packed, ", "))
	}
	b, err := head(c, sniffSize)
	if err != nil {
		return err
	}
	is := sniff(b)
	if (is == formUnknown || is == formDisk) && fixedVHD(c) {
		is = formVHD
	}
	switch is {
	case formGzip, formXZ, formZstd:
		return a.openCompressed(ctx, c, is, name)
	case formTar:
		return a.openTar(ctx, c, name)
	case formQCOW2, formVMDK, formVHD:
		return a.openVirtualDisk(ctx, c, is)
	case formISO:
		return a.openISO(ctx, c)
	case formDisk:
		return a.openDisk(ctx, c)
	case formInitramfs:
		return a.openInitramfs(c)
	case formKernel, formPE:
		return a.openPE(ctx, c)
	case formText:
		a.Report.Kind = KindCmdline
		a.boots = append(a.boots, boot{cmdline: strings.TrimSpace(string(b))})
		return nil
	}
	return errors.New("no ISO, disk, UKI, initramfs, kernel or image: nothing known begins like this")
}

// openCompressed opens what is compressed: an initramfs as it is, anything else unpacked.
func (a *Artefact) openCompressed(ctx context.Context, c content, is form, name string) error {
	inner, err := sniffInside(c, is)
	if err != nil {
		return err
	}
	switch inner {
	case formInitramfs:
		return a.openInitramfs(c)
	case formUnknown, formText:
		return fmt.Errorf("a %s stream that holds no initramfs, disk or archive", is)
	}
	a.Report.Packed = append(a.Report.Packed, string(is))
	r, err := decompress(c, is)
	if err != nil {
		return err
	}
	if inner == formTar {
		return errors.Join(a.openTarStream(ctx, r, name), r.Close())
	}
	if is == formXZ {
		x, err := newXZBlocks(ctx, c, a.lim)
		if !errors.Is(err, errNoBlocks) {
			if err = errors.Join(err, r.Close()); err != nil {
				return err
			}
			return a.openFile(ctx, section(x, 0, x.size), "")
		}
	}
	s, err := a.newSpool()
	if err != nil {
		return errors.Join(err, r.Close())
	}
	plain, err := s.add(ctx, r, nil)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return a.openFile(ctx, plain, "")
}

func sniffInside(c content, is form) (form, error) {
	r, err := decompress(c, is)
	if err != nil {
		return "", err
	}
	b := make([]byte, sniffSize)
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return sniff(b[:n]), errors.Join(err, r.Close())
}

// maxWindow bounds the memory that a compressed stream asks for.
const maxWindow = 128 << 20

func decompress(c content, is form) (io.ReadCloser, error) {
	raw := io.NewSectionReader(c, 0, c.Size())
	switch is {
	case formGzip:
		return gzip.NewReader(raw)
	case formXZ:
		r, err := xz.NewReader(raw, maxWindow)
		if err != nil {
			return nil, fmt.Errorf("xz: %w", err)
		}
		return io.NopCloser(r), nil
	}
	r, err := zstd.NewReader(raw, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return r.IOReadCloser(), nil
}

// maxMembers of a tar archive are looked at.
const maxMembers = 100_000

// openTar opens a tar archive: an image, or the disk that it holds.
func (a *Artefact) openTar(ctx context.Context, c content, name string) error {
	return a.openTarStream(ctx, io.NewSectionReader(c, 0, c.Size()), name)
}

func (a *Artefact) openTarStream(ctx context.Context, r io.Reader, name string) error {
	t := tar.NewReader(r)
	ova := false
	for range maxMembers {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("a tar archive that is no image and holds no disk")
		}
		if err != nil {
			return err
		}
		member := path.Clean(h.Name)
		switch {
		case member == "oci-layout" || member == "index.json" || member == "manifest.json" || member == "manifest.yaml" || member == "rootfs":
			if name == "" {
				return errors.New("an image in an archive in something else: unpack that first")
			}
			return a.openArchive(ctx, source.Ref{Tarball: name})
		case path.Ext(member) == ".ovf":
			ova = true
			continue
		case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse:
			continue
		}
		if done, err := a.openMember(ctx, t, h, ova); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("a tar archive of more than %d members", maxMembers)
}

// openMember opens a member of a tar archive if it is a disk.
func (a *Artefact) openMember(ctx context.Context, r io.Reader, h *tar.Header, ova bool) (done bool, err error) {
	b := make([]byte, min(h.Size, sniffSize))
	if _, err := io.ReadFull(r, b); err != nil {
		return false, err
	}
	switch sniff(b) {
	case formDisk, formISO, formQCOW2, formVMDK, formVHD:
	default:
		return false, nil
	}
	around := "tar"
	if ova {
		around = "ova"
	}
	a.Report.Packed = append(a.Report.Packed, around)
	s, err := a.newSpool()
	if err != nil {
		return false, err
	}
	plain, err := s.add(ctx, io.MultiReader(bytes.NewReader(b), r), nil)
	if err != nil {
		return false, fmt.Errorf("unpack %s: %w", h.Name, err)
	}
	return true, a.openFile(ctx, plain, "")
}

// openVirtualDisk opens a disk whose sectors lie elsewhere in the file.
func (a *Artefact) openVirtualDisk(ctx context.Context, c content, is form) error {
	a.Report.Packed = append(a.Report.Packed, string(is))
	sectors, err := vmdisk.NewReader(c, c.Size())
	if err != nil {
		return err
	}
	return a.openFile(ctx, section(sectors, 0, sectors.Size), "")
}

// fixedVHD tells a fixed VHD: the sectors of a disk, then a footer.
func fixedVHD(c content) bool {
	const footer = 512 // bytes
	cookie := make([]byte, 8)
	if c.Size() <= footer {
		return false
	}
	_, err := c.ReadAt(cookie, c.Size()-footer)
	return err == nil && string(cookie) == "conectix"
}
