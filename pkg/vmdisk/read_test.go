package vmdisk

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// smallVMDK has its tables before its one grain, as other writers put them, and no place wasted: tests damage it.
func smallVMDK(t testing.TB) []byte {
	encode, err := grainEncoder()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := encode(nil, []byte("grain"))
	if err != nil {
		t.Fatal(err)
	}
	le.PutUint64(packed, grain/sector) // the second grain
	b := (&vmdk{size: 3 * grain}).header(1)
	b = append(b, make([]byte, 5*sector)...)
	le.PutUint32(b[sector:], 2)     // the grain table's sector
	le.PutUint32(b[2*sector+4:], 6) // the second grain's
	return append(b, packed...)
}

// smallQCOW2 has clusters of 512 bytes, of which two have data.
func smallQCOW2(t testing.TB) []byte {
	d := newDisk(64<<10, 512, part{512, noise(600, 1)})
	o := Options{Format: QCOW2, ClusterSize: 512}
	b, err := os.ReadFile(create(t, d, o))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func smallVHD() []byte {
	return append(noise(1024, 1), vhdFooter(1024, options(VHD, None))...)
}

// smallOVA has nothing but a disk.
func smallOVA(t testing.TB) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := addMember(w, vmdkName, string(smallVMDK(t)), when); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestReaderRefuses damages good files.
func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	type bytesOrder interface {
		PutUint32([]byte, uint32)
		PutUint64([]byte, uint64)
	}
	u32 := func(order bytesOrder, at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { order.PutUint32(b[at:], v); return b }
	}
	u64 := func(order bytesOrder, at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { order.PutUint64(b[at:], v); return b }
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	qcow2, vmdk, vhd := smallQCOW2(t), smallVMDK(t), smallVHD()
	l1 := int(be.Uint64(qcow2[40:]))
	l2 := int(be.Uint64(qcow2[l1:]) & offsetBits)
	for _, test := range []struct {
		name   string
		good   []byte
		damage func([]byte) []byte
		want   string
	}{
		{"empty", nil, cut(0), "read disk: neither QCOW2 nor VHD, VMDK or OVA"},
		{"unknown", make([]byte, 1024), cut(1024), "read disk: neither QCOW2 nor VHD, VMDK or OVA"},
		{"q version", qcow2, u32(be, 4, 4), "read qcow2: header: version 4: only 2 and 3 are known"},
		{"q short", qcow2, cut(71), "read qcow2: header: 72 bytes at byte 0 of 71: beyond the end of the file"},
		{"q short 3", qcow2, func(b []byte) []byte { b[46] = 0; return b[:104] }, "read qcow2: header: 105 bytes at byte 0 of 104: beyond the end of the file"},
		{"q backing", qcow2, u64(be, 8, 1), "read qcow2: header: the disk needs a backing file, which is not supported"},
		{"q clusters 8", qcow2, u32(be, 20, 8), "read qcow2: header: clusters of 1<<8 bytes: they have from 1<<9 to 1<<21"},
		{"q clusters 22", qcow2, u32(be, 20, 22), "read qcow2: header: clusters of 1<<22 bytes"},
		{"q size", qcow2, u64(be, 24, maxRead+1), "read qcow2: header: a disk of 4503599627370497 bytes: more than 4503599627370496"},
		{"q size covered", qcow2, u64(be, 24, 64<<10+1), "read qcow2: header: a disk of 65537 bytes with an L1 table for 65536"},
		{"q encrypted", qcow2, u32(be, 32, 2), "read qcow2: header: encrypted (method 2), which is not supported"},
		{"q l1", qcow2, u64(be, 40, math.MaxUint64), "read qcow2: header: L1 table at byte 18446744073709551615"},
		{"q features", qcow2, u64(be, 72, 1<<4), "read qcow2: header: incompatible features 0x10 are not supported"},
		{"q compression", qcow2, func(b []byte) []byte { b[79], b[104] = featureCompression, 2; return b }, "read qcow2: header: compression of type 2"},
		{"q l1 end", qcow2, u64(be, 40, uint64(len(qcow2))), "read qcow2: block 0 of 512 bytes: L1 table: table entry at byte"},
		{"q l1 odd", qcow2, u64(be, 40, uint64(l1)-4), "not a multiple of its size, 8"},
		{"q l2", qcow2, u64(be, l1, 1<<40), "read qcow2: block 0 of 512 bytes: L2 table: table entry at byte 1099511627776"},
		{"q data", qcow2, u64(be, l2+8, 1<<40), "read qcow2: block 1 of 512 bytes: 512 bytes at byte 1099511627776"},
		{"q packed", qcow2, u64(be, l2+8, packedCluster|1<<40), "read qcow2: block 1 of 512 bytes: compressed cluster at byte 1099511627776"},
		{"q not packed", qcow2, u64(be, l2+8, packedCluster|uint64(l2)), "read qcow2: block 1 of 512 bytes: unpack: "},
		{"vhd checksum", vhd, u32(be, 1024+64, 1), "read vhd: footer: checksum is 00000001, not "},
		{"vhd type", vhd, changeVHD(func(b []byte) { b[63] = 3 }), "read vhd: footer: disk of type 3: only fixed disks (2) are supported"},
		{"vhd size", vhd, changeVHD(func(b []byte) { b[54] = 6 }), "read vhd: footer: a disk of 1536 bytes in a file of 1536"},
		{"v version", vmdk, u32(le, 4, 4), "read vmdk: header: version 4: only 1 to 3 are known"},
		{"v short", vmdk, cut(511), "read vmdk: header: 512 bytes at byte 0 of 511"},
		{"v flags", vmdk, u32(le, 8, 3), "read vmdk: header: not stream-optimised (flags 0x3, compression 1)"},
		{"v size", vmdk, u64(le, 12, maxRead/sector+1), "read vmdk: header: a disk of 8796093022209 sectors: more than 8796093022208"},
		{"v grain", vmdk, u64(le, 20, 4), "read vmdk: header: grains of 4 sectors: they have a power of two from 8 to 4096"},
		{"v grain 96", vmdk, u64(le, 20, 96), "read vmdk: header: grains of 96 sectors"},
		{"v grain 8192", vmdk, u64(le, 20, 8192), "read vmdk: header: grains of 8192 sectors"},
		{"v tables", vmdk, u32(le, 44, 0), "read vmdk: header: grain tables of 0 entries: they have from 1 to 4096"},
		{"v tables 4097", vmdk, u32(le, 44, 4097), "read vmdk: header: grain tables of 4097 entries"},
		{"v directory", vmdk, u64(le, 56, 1<<40), "read vmdk: header: grain directory in sector 1099511627776"},
		{"v footer", vmdk, u64(le, 56, atEnd), "read vmdk: footer: it is missing: the file has been cut off"},
		{"v table", vmdk, u32(le, sector, 1<<20), "read vmdk: block 0 of 65536 bytes: grain table: table entry at byte 536870912"},
		{"v grain at", vmdk, u32(le, 2*sector+4, 1<<20), "read vmdk: block 1 of 65536 bytes: grain: 12 bytes at byte 536870912"},
		{"v grain of", vmdk, u64(le, 6*sector, 5), "read vmdk: block 1 of 65536 bytes: grain at byte 3072: it is of sector 5, not 128"},
		{"v grain 0", vmdk, u32(le, 6*sector+8, 0), "read vmdk: block 1 of 65536 bytes: grain at byte 3072: 0 compressed bytes: there are from 1 to 131072"},
		{"v grain length", vmdk, u32(le, 6*sector+8, 131073), "read vmdk: block 1 of 65536 bytes: grain at byte 3072: 131073 compressed bytes"},
		{"v zlib", vmdk, u32(le, 6*sector+12, 0), "read vmdk: block 1 of 65536 bytes: unpack: zlib: invalid header"},
		{"v smaller grains", vmdk, u64(le, 20, 64), "it is of sector 128, not 64"},
		{"v larger grains", vmdk, u64(le, 20, 256), "it is of sector 128, not 256"},
	} {
		b := test.damage(slices.Clone(test.good))
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = r.ReadAt(make([]byte, min(r.Size, mib)), 0)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
	for _, good := range [][]byte{qcow2, vhd, vmdk, smallOVA(t)} {
		r, err := NewReader(bytes.NewReader(good), int64(len(good)))
		if err == nil {
			_, err = r.ReadAt(make([]byte, r.Size), 0)
		}
		if err != nil {
			t.Errorf("not damaged: %v", err)
		}
	}
}

func changeVHD(change func([]byte)) func([]byte) []byte {
	return func(b []byte) []byte {
		foot := b[len(b)-sector:]
		change(foot)
		be.PutUint32(foot[64:], vhdChecksum(foot))
		return b
	}
}

// TestGrainLength: what is unpacked may be too short only at the disk's end, and never too long.
func TestGrainLength(t *testing.T) {
	t.Parallel()
	encode, err := grainEncoder()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := encode(nil, []byte("grain"))
	if err != nil {
		t.Fatal(err)
	}
	packed = packed[grainHead:]
	if err := inflateGrain(make([]byte, grain), packed, grain); err != nil {
		t.Error(err)
	}
	if err := inflateGrain(make([]byte, grain-1), packed, 1); err == nil || err.Error() != "more than 65535 bytes" {
		t.Error(err)
	}
	if err := inflateGrain(make([]byte, grain+1), packed, grain); err != nil {
		t.Error(err)
	}
	if err := inflateGrain(make([]byte, grain+1), packed, grain+1); err == nil || err.Error() != "65536 of 65537 bytes" {
		t.Error(err)
	}
	if err := inflateGrain(make([]byte, grain), packed[:50], 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// TestOVAWithout has no disk in it.
func TestOVAWithout(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(create(t, newDisk(mib, 1), options(OVA, None)))
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("KDMV"))] = 'k'
	if _, err := NewReader(bytes.NewReader(b), int64(len(b))); err == nil || err.Error() != "read ova: no VMDK among its first 100 members" {
		t.Error(err)
	}
}

// TestZeroChecksum compares with what is computed byte by byte.
func TestZeroChecksum(t *testing.T) {
	t.Parallel()
	start := gzipStream{}
	start.add([]byte("start"), 5, nil)
	for _, n := range []int64{0, 1, 2, 3, 255, mib, mib + 1} {
		fast, slow := start, start
		fast.add(nil, n, nil)
		slow.add(make([]byte, n), n, nil)
		if fast != slow {
			t.Errorf("%d zeros: %+v, byte by byte %+v", n, fast, slow)
		}
	}
}

// FuzzReader reads whatever it is given: no panic, no endless loop, and the same bytes each time. Its seeds are the small files
// above and two that QEMU compressed.
func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if r.Size < 0 || r.Size > maxRead {
			t.Fatalf("%d bytes", r.Size)
		}
		for _, off := range []int64{0, r.Size / 2, r.Size - 100_000} {
			off = max(off, 0)
			whole := make([]byte, 100_000)
			n, err := r.ReadAt(whole, off)
			if err != nil && err != io.EOF {
				continue
			}
			for i := 0; i < n; i += 30_001 {
				p := make([]byte, min(30_001, n-i))
				if _, err := r.ReadAt(p, off+int64(i)); err != nil || !bytes.Equal(p, whole[i:i+len(p)]) {
					t.Fatalf("at %d: other bytes in pieces, or %v", off+int64(i), err)
				}
			}
		}
	})
}

// FuzzWrite writes disks of any shape and reads them back.
func FuzzWrite(f *testing.F) {
	f.Fuzz(func(t *testing.T, format, clusterBits uint8, script []byte) {
		o := options(Formats[int(format)%len(Formats)], None)
		if o.Format == QCOW2 {
			o.ClusterSize = minCluster << (clusterBits % 13)
		}
		parts, size := readScript(script)
		d, want := newDisk(size, 1000, parts...), make([]byte, size)
		for _, p := range parts {
			copy(want[p.at:], p.b)
		}
		w := &memory{}
		n, err := Write(w, d, o)
		if err != nil {
			t.Fatal(err)
		}
		w.b = append(w.b, make([]byte, n-int64(len(w.b)))...)
		got := w.b
		if o.Format != Raw {
			r, err := NewReader(bytes.NewReader(w.b), n)
			if err != nil {
				t.Fatal(err)
			}
			got = make([]byte, r.Size)
			if _, err := r.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Error("other bytes")
		}
	})
}

// readScript makes a disk of holes and data: for each, 4 bytes say how long they are and with what it begins.
func readScript(script []byte) (parts []part, size int64) {
	for len(script) >= 4 && size < 4*mib {
		hole, length := int64(script[0])<<(script[1]%12), int64(script[2])<<(script[1]/16%12)
		b := make([]byte, length)
		if length > 0 {
			b[0] = script[3]
		}
		parts = append(parts, part{size + hole, b})
		size += hole + length
		script = script[4:]
	}
	return parts, roundUp(size+1, mib)
}

// memory is a file in memory.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off < int64(len(m.b)) {
		return 0, fmt.Errorf("write at %d after %d", off, len(m.b))
	}
	m.b = append(append(m.b, make([]byte, off-int64(len(m.b)))...), p...)
	return len(p), nil
}
