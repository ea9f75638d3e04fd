package iso9660

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Options say what an image holds besides the tree.
type Options struct {
	VolumeID    string    // label: up to 32 of A-Z, 0-9 and _
	VolumeSetID string    // up to 128 printable ASCII characters
	PreparerID  string    // who made the image; up to 128 printable ASCII characters
	ModTime     time.Time // the volume's creation and modification, 1900 to 2155; told in UTC
	Boot        []BootEntry
	// Appended are the contents of the partitions behind the tree. Each starts at a multiple of 1 MiB and takes one.
	Appended []Content
	// Shared names, by path, files of the tree whose bytes are already part of an appended partition.
	Shared map[string]Shared
	// PartitionOffset is the block where a partition starts that can be mounted by itself: 16 in practice; 0 for none.
	PartitionOffset int64
	// Tail is the number of bytes at the end that are kept for the caller: a multiple of 2048.
	Tail int64
}

// Platform tells which firmware a boot entry is for.
type Platform uint8

// Platforms of El Torito.
const (
	BIOS Platform = 0x00
	UEFI Platform = 0xEF
)

// BootEntry is what a firmware starts: a file of the tree or, where Path is empty, an appended partition. No emulation.
type BootEntry struct {
	Platform Platform
	Path     string
	Appended int // index of the partition where Path is empty
	// LoadSectors is the number of 512-byte sectors that the firmware loads. 0 stands for the whole image, which is 0 in the
	// catalog as well where it has more than 65535 sectors: UEFI then takes all up to the end of the medium.
	LoadSectors   uint16
	BootInfoTable bool // write the image's place, length and checksum into its bytes 8..63
	GRUB2BootInfo bool // write the place of GRUB's core image, in sectors, into the image's bytes 0x9f4..0x9fb
}

// Content is what an appended partition holds. Write leaves holes where there are zeros.
type Content interface {
	Size() int64
	Write(w io.WriterAt) error
}

// Shared is a place inside an appended partition.
type Shared struct {
	Partition int   // index into Options.Appended
	Offset    int64 // from the partition's start in bytes: a multiple of 2048
}

func (o Options) check(t *tree.Tree) error {
	if err := checkText("volume id", o.VolumeID, 32, isD); err != nil {
		return err
	}
	if err := checkText("volume set id", o.VolumeSetID, 128, isPrintable); err != nil {
		return err
	}
	if err := checkText("preparer id", o.PreparerID, 128, isPrintable); err != nil {
		return err
	}
	if err := checkTime(o.ModTime); err != nil {
		return fmt.Errorf("volume time: %w", err)
	}
	if o.PartitionOffset != 0 && (o.PartitionOffset < systemBlocks || o.PartitionOffset > 1<<16) {
		return fmt.Errorf("partition offset %d: must be 0 or a block from %d to %d", o.PartitionOffset, systemBlocks, 1<<16)
	}
	if o.Tail < 0 || o.Tail%blockSize != 0 || o.Tail > maxBlocks*blockSize {
		return fmt.Errorf("tail of %d bytes: must be a multiple of %d up to %d", o.Tail, blockSize, int64(maxBlocks)*blockSize)
	}
	for i, c := range o.Appended {
		if n := c.Size(); n <= 0 || n > maxBlocks*blockSize {
			return fmt.Errorf("appended partition %d of %d bytes: must have from 1 to %d bytes", i, n, int64(maxBlocks)*blockSize)
		}
	}
	return o.checkBoot(t)
}

func (o Options) checkBoot(t *tree.Tree) error {
	const most = 31 // a section header and an entry each, in a block of 64 with two for the first
	if len(o.Boot) > most {
		return fmt.Errorf("%d boot entries: a boot catalog of one block has room for %d", len(o.Boot), most)
	}
	if _, ok := t.Lookup(catalog); ok && len(o.Boot) > 0 {
		return fmt.Errorf("file %q: the boot catalog takes this name", catalog)
	}
	patched := map[string]BootEntry{}
	for i, e := range o.Boot {
		if e.Path == "" {
			if e.Appended < 0 || e.Appended >= len(o.Appended) {
				return fmt.Errorf("boot entry %d: there is no appended partition %d (of %d)", i, e.Appended, len(o.Appended))
			}
			if e.BootInfoTable || e.GRUB2BootInfo {
				return fmt.Errorf("boot entry %d: only a file of the tree takes boot information, no appended partition", i)
			}
			continue
		}
		n, ok := t.Lookup(e.Path)
		if !ok || !n.Mode.IsRegular() || n.Size() == 0 {
			return fmt.Errorf("boot entry %d: the tree has no file %q with content", i, e.Path)
		}
		if !e.BootInfoTable && !e.GRUB2BootInfo {
			continue
		}
		if _, shared := o.Shared[e.Path]; shared || n.IsHardLink() {
			return fmt.Errorf("boot entry %d: %q takes boot information, so it must be stored by itself", i, e.Path)
		}
		if _, twice := patched[e.Path]; twice {
			return fmt.Errorf("boot entry %d: %q has boot information of another entry already", i, e.Path)
		}
		patched[e.Path] = e
	}
	return nil
}

func checkText(field, s string, most int, ok func(byte) bool) error {
	if len(s) > most {
		return fmt.Errorf("%s %q: has %d characters where %d are the most", field, s, len(s), most)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r > 0x7f || !ok(byte(r)) }); i >= 0 {
		return fmt.Errorf("%s %q: character %q at %d is not allowed", field, s, s[i:i+1], i)
	}
	return nil
}

// isD tells whether c is one of ECMA-119's d-characters.
func isD(c byte) bool { return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' }

func isPrintable(c byte) bool { return c >= 0x20 && c < 0x7f }

// checkTime refuses what the byte for the years since 1900 cannot hold.
func checkTime(t time.Time) error {
	if y := t.UTC().Year(); y < 1900 || y > 2155 {
		return fmt.Errorf("year %d: ISO 9660 has room for 1900 to 2155", y)
	}
	return nil
}
