package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	attrReadOnly = 0x01
	attrLabel    = 0x08
	attrDir      = 0x10
	attrArchive  = 0x20
	attrLong     = 0x0f // an entry of a long name
	deleted      = 0xe5 // in the place of a name's first byte
	lastLong     = 0x40 // in the number of a long name's last part, which comes first
	endOfChain   = 0x0fffffff
	media        = 0xf8 // a hard disk
	fsInfo       = 1    // sectors
	backupBoot   = 6
	fatChunk     = 64 << 10 // bytes of a FAT that are written at a time
)

var le = binary.LittleEndian

// Write writes the image: in ascending order, no byte twice, and nothing where nothing is. A hole of w must read as zeros.
func (img *Image) Write(w io.WriterAt) error {
	if err := img.writeReserved(w); err != nil {
		return fmt.Errorf("write FAT32: %w", err)
	}
	for i := range int64(numFATs) {
		if err := img.writeFAT(w, (img.g.reserved+i*img.g.fatLength)*img.g.sector); err != nil {
			return fmt.Errorf("write FAT32: %w", err)
		}
	}
	for _, n := range img.nodes {
		if n.count == 0 {
			continue
		}
		content := n.Content
		if n.Mode.IsDir() {
			content = tree.Bytes(img.directory(n))
		}
		if _, err := tree.CopyAt(w, img.g.offset(n.cluster), content); err != nil {
			return fmt.Errorf("write FAT32 %s: %w", n.Path, err)
		}
	}
	return nil
}

// writeReserved writes boot sector and FSInfo, and the copy of both.
func (img *Image) writeReserved(w io.WriterAt) error {
	b := append(img.bootSector(), img.fsInfo()...)
	if _, err := w.WriteAt(b, 0); err != nil {
		return err
	}
	_, err := w.WriteAt(b, backupBoot*img.g.sector)
	return err
}

func (img *Image) bootSector() []byte {
	g, b := img.g, make([]byte, img.g.sector)
	copy(b, "\xeb\x58\x90mkfs.fat")        // a jump over the fields; who made it: some readers want a known name
	le.PutUint16(b[11:], uint16(g.sector)) // bytes in a sector
	b[13] = byte(g.perCluster)             // sectors in a cluster
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = numFATs
	b[21] = media
	le.PutUint16(b[24:], uint16(g.perTrack))
	le.PutUint16(b[26:], uint16(g.heads))
	le.PutUint32(b[28:], img.o.HiddenSectors)
	le.PutUint32(b[32:], uint32(g.sectors))
	le.PutUint32(b[36:], uint32(g.fatLength)) // sectors of one FAT
	le.PutUint32(b[44:], rootCluster)
	le.PutUint16(b[48:], fsInfo)
	le.PutUint16(b[50:], backupBoot)
	b[64] = 0x80 // the BIOS's number of the first hard disk
	b[66] = 0x29 // the next three fields are there
	le.PutUint32(b[67:], img.o.VolumeID)
	copy(b[71:], img.label[:])
	copy(b[82:], "FAT32   ")
	copy(b[90:], "\xcd\x18\xf4\xeb\xfd") // int 0x18: nothing to boot here, BIOS; then halt for good
	b[510], b[511] = 0x55, 0xaa
	return b
}

func (img *Image) fsInfo() []byte {
	b := make([]byte, img.g.sector)
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(img.g.clusters-img.used))
	last := uint32(rootCluster)
	for _, n := range img.nodes {
		if n.count > 0 {
			last = n.end() - 1
		}
	}
	le.PutUint32(b[492:], last) // where to look for a free one
	b[510], b[511] = 0x55, 0xaa
	return b
}

// writeFAT writes one copy of the FAT, up to the last cluster that is in use.
func (img *Image) writeFAT(w io.WriterAt, off int64) error {
	chunk := make([]byte, 0, fatChunk)
	next := uint32(rootCluster)
	put := func(v uint32) error {
		if chunk = le.AppendUint32(chunk, v); len(chunk) < fatChunk {
			return nil
		}
		_, err := w.WriteAt(chunk, off)
		off += int64(len(chunk))
		chunk = chunk[:0]
		return err
	}
	chunk = le.AppendUint32(chunk, 0x0fffff00|media)
	chunk = le.AppendUint32(chunk, endOfChain) // and: cleanly unmounted, no read errors
	for _, n := range img.nodes {
		if n.count == 0 {
			continue
		}
		for ; next < n.cluster; next++ { // left free for the file's alignment
			if err := put(0); err != nil {
				return err
			}
		}
		for next++; next < n.end(); next++ {
			if err := put(next); err != nil {
				return err
			}
		}
		end := uint32(endOfChain)
		if n.parent == nil {
			end = 0x0fffff00 | media // as mkfs.fat ends the root directory
		}
		if err := put(end); err != nil {
			return err
		}
	}
	_, err := w.WriteAt(chunk, off)
	return err
}

// directory returns the bytes of a directory.
func (img *Image) directory(n *node) []byte {
	b := make([]byte, 0, n.size)
	if n.parent == nil {
		if img.o.Label != "" {
			b = appendEntry(b, entryName{short: img.label}, attrLabel, img.o.LabelTime, 0, 0)
		}
	} else {
		up := n.parent.cluster
		if n.parent.parent == nil {
			up = 0 // the root directory
		}
		b = appendEntry(b, entryName{short: dot}, attrDir, n.ModTime, n.cluster, 0)
		b = appendEntry(b, entryName{short: dotDot}, attrDir, n.ModTime, up, 0)
	}
	for _, kid := range n.kids {
		attr, size := byte(attrDir), int64(0)
		if !kid.Mode.IsDir() {
			attr, size = attrArchive, kid.size
		}
		if kid.Mode&0o200 == 0 {
			attr |= attrReadOnly
		}
		b = appendLongName(b, kid.name)
		b = appendEntry(b, kid.name, attr, kid.ModTime, kid.cluster, uint32(size))
	}
	return b
}

func appendEntry(b []byte, name entryName, attr byte, t time.Time, cluster, size uint32) []byte {
	date, clock, _ := dosTime(t) // Plan has checked all times
	b = append(b, name.short[:]...)
	b = append(b, attr, name.lower, 0) // 0: hundredths of a second to add to the time of creation
	b = le.AppendUint16(b, clock)      // created
	b = le.AppendUint16(b, date)
	b = le.AppendUint16(b, date) // read
	b = le.AppendUint16(b, uint16(cluster>>16))
	b = le.AppendUint16(b, clock) // written
	b = le.AppendUint16(b, date)
	b = le.AppendUint16(b, uint16(cluster))
	return le.AppendUint32(b, size)
}

// appendLongName appends the entries of a long name, the last part first.
func appendLongName(b []byte, name entryName) []byte {
	parts := name.slots() - 1
	sum := name.short.checksum()
	for part := parts; part > 0; part-- {
		number := byte(part)
		if part == parts {
			number |= lastLong
		}
		unit := func(i int) uint16 {
			switch i += (part - 1) * unitsPerSlot; {
			case i < len(name.long):
				return name.long[i]
			case i == len(name.long):
				return 0 // ends a name that does not fill its last entry
			}
			return 0xffff
		}
		b = append(b, number)
		for i := range unitsPerSlot {
			switch i {
			case 5:
				b = append(b, attrLong, 0, sum)
			case 11:
				b = append(b, 0, 0)
			}
			b = le.AppendUint16(b, unit(i))
		}
	}
	return b
}
