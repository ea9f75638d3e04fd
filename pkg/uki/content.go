package uki

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// OSRelease is the text of the section .osrel of a Talos: siderolabs/talos pkg/machinery/version/osrelease.go. The version has
// its "v".
func OSRelease(name, version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "NAME=\"%s\"\n", name)
	fmt.Fprintf(&b, "ID=%s\n", strings.ReplaceAll(strings.ToLower(name), " ", "_"))
	fmt.Fprintf(&b, "VERSION_ID=%s\n", version)
	fmt.Fprintf(&b, "PRETTY_NAME=\"%s (%s)\"\n", name, version)
	b.WriteString("HOME_URL=\"https://www.talos.dev/\"\n")
	b.WriteString("BUG_REPORT_URL=\"https://github.com/siderolabs/talos/issues\"\n")
	b.WriteString("VENDOR_NAME=\"Sidero Labs\"\n")
	b.WriteString("VENDOR_URL=\"https://www.siderolabs.com/\"\n")
	return b.String()
}

// ProfileText is the text of a section .profile. An empty title is left out, as in the main profile.
func ProfileText(id, title string) string {
	if title == "" {
		return "ID=" + id
	}
	return "ID=" + id + "\nTITLE=" + title
}

// KernelRelease reads a kernel's release from an x86 boot header (https://docs.kernel.org/arch/x86/boot.html, field
// kernel_version at 0x20e), or "" where the file has none, as arm64's has not.
func KernelRelease(kernel tree.Blob) (string, error) {
	r, err := kernel.Open()
	if err != nil {
		return "", err
	}
	head := make([]byte, min(kernel.Size(), 0x10000))
	_, err = io.ReadFull(r, head)
	if err := errors.Join(err, r.Close()); err != nil {
		return "", fmt.Errorf("read kernel: %w", err)
	}
	if len(head) < 0x210 || string(head[0x202:0x206]) != "HdrS" {
		return "", nil
	}
	at := int(binary.LittleEndian.Uint16(head[0x20e:])) // relative to byte 0x200
	setup := int(head[0x1f1]) * 512
	if at == 0 || at > setup || 0x200+at >= len(head) {
		return "", nil
	}
	text := head[0x200+at:]
	text = text[:min(len(text), 256)]
	end := bytes.IndexByte(text, 0)
	if end < 0 {
		return "", nil
	}
	release, _, _ := strings.Cut(string(text[:end]), " ")
	return release, nil
}

// The boot splash of Talos, pkg/splash/sidero.bmp: the same file since 1.10.
const (
	splashSize   = 640138
	splashSHA256 = "db736eb8a5f1f2b59f9140378a47d14383d5b49ab3704c7ab2042017d5097365"
)

// FindSplash looks for Talos's boot splash in the program that embeds it, uncompressed: by a BMP header of the right size, then by its
// SHA-256. It returns nil where it is not there.
func FindSplash(program tree.Blob) (tree.Blob, error) {
	want := binary.LittleEndian.AppendUint32([]byte("BM"), splashSize)
	return findEmbedded(program, want, splashSize, splashSHA256)
}

func findEmbedded(program tree.Blob, header []byte, size int64, sum string) (tree.Blob, error) {
	r, err := program.Open()
	if err != nil {
		return nil, err
	}
	candidates, err := indexAll(r, header)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("find splash: %w", err)
	}
	for _, at := range candidates {
		found, err := readRange(program, at, size)
		if err != nil {
			return nil, fmt.Errorf("find splash: %w", err)
		}
		if got := sha256.Sum256(found); int64(len(found)) == size && hex.EncodeToString(got[:]) == sum {
			return tree.Bytes(found), nil
		}
	}
	return nil, nil
}

// maxCandidates bounds what a program full of BMP headers costs.
const maxCandidates = 64

// indexAll returns where a short pattern occurs in a stream.
func indexAll(r io.Reader, pattern []byte) ([]int64, error) {
	var found []int64
	buf := make([]byte, 1<<20)
	base, have := int64(0), 0
	for {
		n, err := r.Read(buf[have:])
		have += n
		for at := 0; len(found) < maxCandidates; {
			i := bytes.Index(buf[at:have], pattern)
			if i < 0 {
				break
			}
			found = append(found, base+int64(at+i))
			at += i + 1
		}
		keep := min(have, len(pattern)-1) // the pattern may straddle two reads
		base += int64(have - keep)
		copy(buf, buf[have-keep:have])
		have = keep
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func readRange(b tree.Blob, off, size int64) ([]byte, error) {
	if off+size > b.Size() {
		return nil, nil
	}
	buf := make([]byte, size)
	if at, ok := b.(io.ReaderAt); ok {
		return buf, tree.ReadFull(at, buf, off)
	}
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	if _, err = io.CopyN(io.Discard, r, off); err == nil {
		_, err = io.ReadFull(r, buf)
	}
	return buf, errors.Join(err, r.Close())
}

// CheckBMP refuses what systemd-stub cannot show as a splash.
func CheckBMP(b tree.Blob) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	head := make([]byte, 14)
	_, err = io.ReadFull(r, head)
	if err := errors.Join(err, r.Close()); err != nil || string(head[:2]) != "BM" {
		return errors.New("not a BMP file: systemd-stub shows no other format")
	}
	if size := binary.LittleEndian.Uint32(head[2:]); int64(size) != b.Size() {
		return fmt.Errorf("its header says %d bytes, the file has %d", size, b.Size())
	}
	return nil
}
