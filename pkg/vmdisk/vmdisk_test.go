package vmdisk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
)

var (
	when = time.Date(2026, 11, 22, 18, 46, 7, 122773000, time.UTC)
	id   = [16]byte{0x24, 0xc7, 0x30, 0x76, 0x40, 0x92, 0x85, 0xdd, 0x9d, 0x98, 0x68, 0x6a, 0x2d, 0xbf, 0x6d, 0x81}
)

// part is some of a disk's bytes.
type part struct {
	at int64
	b  []byte
}

// newDisk is a disk of parts, written in pieces of at most so many bytes.
func newDisk(size int64, piece int, parts ...part) Disk {
	return Disk{Size: size, Write: func(w io.WriterAt) error {
		for _, p := range parts {
			for i := 0; i < len(p.b); i += piece {
				if _, err := w.WriteAt(p.b[i:min(i+piece, len(p.b))], p.at+int64(i)); err != nil {
					return err
				}
			}
		}
		return nil
	}}
}

func noise(n int, seed uint64) []byte {
	var key [32]byte
	key[0] = byte(seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// bootDisk has what boot disks have: tables at both ends, bytes that can't be compressed, text, zeros that are written, and holes
// of all kinds.
func bootDisk(size int64, piece int) Disk {
	text := []byte(strings.Repeat("Everything flows downwards and nothing flows back. ", 10000))
	return newDisk(size, piece,
		part{0, noise(512, 1)},
		part{4096, noise(1, 2)},
		part{mib, noise(mib+777, 3)},
		part{3 * mib, make([]byte, 2*mib)},
		part{5*mib + 100, text},
		part{7 * mib, append(make([]byte, 300_000), 1)},
		part{11 * mib, noise(200_000, 4)},
		part{size - 17*1024, noise(17*1024, 5)},
	)
}

// create writes a disk to a file, whose name has the endings that people give it.
func create(t testing.TB, d Disk, o Options) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk."+string(o.withDefaults().Format))
	if o.Compression != "" && o.Compression != None {
		name += "." + string(o.Compression)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &formattest.Ordered{T: t, W: f}
	size, err := Write(s, d, o)
	if err != nil {
		t.Fatal(err)
	}
	if s.End > size {
		t.Errorf("%d bytes were written, Write returned %d", s.End, size)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return name
}

// options are valid ones for every format.
func options(f Format, c Compression) Options {
	o := Options{Format: f, Compression: c, Time: when}
	if f == VHD || f == VMDK || f == OVA {
		o.ID = id
	}
	return o
}

func sum(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// together leaves out pairs that show nothing new: a compression sees bytes, whatever their format.
func together(f Format, c Compression) bool {
	return f == Raw || c == None || f == VHD && c == Zstd || f == OVA && c == TarGzip
}

// TestBytes pins the bytes of every format and compression: when they change, so must Version (or the compressor's version
// did, which is part of the keys too). They must not depend on the number of processors or on how the disk writes itself.
func TestBytes(t *testing.T) {
	var got strings.Builder
	for _, f := range Formats {
		for _, c := range Compressions {
			if !together(f, c) {
				continue
			}
			o := options(f, c)
			first := sum(t, create(t, bootDisk(16*mib, mib), o))
			procs := runtime.GOMAXPROCS(1)
			second := sum(t, create(t, bootDisk(16*mib, 100_003), o))
			runtime.GOMAXPROCS(procs)
			if first != second {
				t.Errorf("%s.%s: other bytes on one processor and in other pieces", f, c)
			}
			fmt.Fprintf(&got, "%s  %s.%s\n", first, f, c)
		}
	}
	const golden = "testdata/sha256.txt"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s has other checksums than:\n%s", golden, &got)
	}
}

// TestRoundTrip reads back what was written, whole and in odd pieces.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		format  Format
		cluster int64
		size    int64
	}{
		{QCOW2, 0, 16 * mib},
		{QCOW2, 8 << 10, 16*mib + sector},
		{QCOW2, minCluster, 16 * mib},
		{QCOW2, maxCluster, 16*mib + 3*sector},
		{VHD, 0, 16 * mib},
		{VMDK, 0, 16*mib + 5*sector},
		{OVA, 0, 16 * mib},
	} {
		t.Run(fmt.Sprintf("%s-%d", test.format, test.cluster), func(t *testing.T) {
			t.Parallel()
			d := bootDisk(test.size, mib)
			want, err := os.ReadFile(create(t, d, Options{}))
			if err != nil {
				t.Fatal(err)
			}
			o := options(test.format, None)
			o.ClusterSize = test.cluster
			r := open(t, create(t, d, o))
			if r.Format != test.format || r.Size != test.size || test.cluster != 0 && r.ClusterSize != test.cluster {
				t.Errorf("read %s, %d bytes, clusters of %d", r.Format, r.Size, r.ClusterSize)
			}
			compare(t, r, want)
		})
	}
}

func open(t testing.TB, name string) *Reader {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func compare(t testing.TB, r *Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := r.ReadAt(got, 0); n != len(got) || err != nil {
		t.Fatalf("read %d bytes of %d: %v", n, len(got), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the disk was read with other bytes")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		off := rnd.Int64N(int64(len(want)))
		b := got[:rnd.IntN(200_000)]
		n, err := r.ReadAt(b, off)
		if end := min(len(want), int(off)+len(b)); n != end-int(off) || (err == io.EOF) != (n < len(b)) || err != nil && err != io.EOF {
			t.Fatalf("read %d bytes at %d: %d, %v", len(b), off, n, err)
		} else if !bytes.Equal(b[:n], want[off:end]) {
			t.Fatalf("other bytes at %d", off)
		}
	}
	if n, err := r.ReadAt(got[:1], r.Size); n != 0 || err != io.EOF {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	if _, err := r.ReadAt(got[:1], -1); err == nil {
		t.Error("read at a negative offset")
	}
}

// TestEmpty writes disks of nothing but a hole.
func TestEmpty(t *testing.T) {
	t.Parallel()
	for _, f := range Formats {
		name := create(t, newDisk(3*mib, 1), options(f, None))
		if f != Raw {
			compare(t, open(t, name), make([]byte, 3*mib))
		}
	}
}

// TestCheckLimits is one over each limit, and the limit itself.
func TestCheckLimits(t *testing.T) {
	t.Parallel()
	withID := func(f Format) Options { return options(f, None) }
	for _, test := range []struct {
		name string
		o    Options
		good int64
		bad  int64
		want string // of the bad one
	}{
		{"none", Options{}, sector, 0, "size: 0 bytes are not between 1 and"},
		{"negative", Options{}, sector, -512, "size: -512 bytes"},
		{"sectors", Options{}, 4 * sector, 4*sector + 1, "size: 2049 bytes are not a multiple of 512: a disk consists of sectors"},
		{"raw", Options{}, maxSize, maxSize + sector, "the most for raw"},
		{"qcow2", Options{Format: QCOW2}, maxSize, maxSize + sector, "the most for qcow2"},
		{"sectors of 4096", Options{SectorSize: 4096}, maxSize, maxSize - sector, "70368744177152 bytes are not a multiple of 4096: a disk consists of sectors"},
		{"qcow2 of sectors of 4096", Options{Format: QCOW2, SectorSize: 4096}, mib + 4096, mib + sector, "1049088 bytes are not a multiple of 4096"},
		{"qcow2 8k", Options{Format: QCOW2, ClusterSize: 8192}, 16 * tib, 16*tib + sector, "cluster_size: 8192 bytes are too few for a disk of 17592186044928 bytes: take more, such as 65536"},
		{"qcow2 512", Options{Format: QCOW2, ClusterSize: 512}, 64 * gib, 64*gib + sector, "cluster_size: 512 bytes are too few"},
		{"vhd", withID(VHD), 2040 * gib, 2040*gib + mib, "the most for vhd"},
		{"vhd MiB", withID(VHD), 2 * mib, 2*mib + sector, "not a multiple of 1048576: Azure takes only full MiB"},
		{"vmdk", withID(VMDK), 62 * tib, 62*tib + sector, "the most for vmdk"},
		{"ova", withID(OVA), 62 * tib, 62*tib + mib, "the most for ova"},
		{"ova MiB", withID(OVA), 2 * mib, 2*mib + sector, "the OVF descriptor counts in MiB"},
	} {
		if err := test.o.Check(test.good); err != nil {
			t.Errorf("%s: %d: %v", test.name, test.good, err)
		}
		err := test.o.Check(test.bad)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %d: error %v, want one with %q", test.name, test.bad, err, test.want)
		}
		_, err = Write(nowhere{}, newDisk(test.bad, 1), test.o)
		if field := (*FieldError)(nil); !errors.As(err, &field) {
			t.Errorf("%s: Write does not check: %v", test.name, err)
		}
	}
}

func TestCheckOptions(t *testing.T) {
	t.Parallel()
	with := func(o Options, change func(*Options)) Options { change(&o); return o }
	long := func(o *Options) { o.SectorSize = 4096 }
	at := func(unix int64) func(*Options) { return func(o *Options) { o.Time = time.Unix(unix, 0) } }
	for _, test := range []struct {
		o    Options
		want string // the whole error
	}{
		{Options{}, ""},
		{Options{Format: "vdi"}, `format: "vdi" is none of [raw qcow2 vhd vmdk ova]`},
		{Options{Compression: "bz2"}, `compression: "bz2" is none of [none gz xz zst tar.gz]`},
		{Options{Format: QCOW2, ClusterSize: minCluster}, ""},
		{Options{Format: QCOW2, ClusterSize: minCluster / 2}, "cluster_size: 256 is not a power of two from 512 to 2097152"},
		{Options{Format: QCOW2, ClusterSize: maxCluster}, ""},
		{Options{Format: QCOW2, ClusterSize: maxCluster * 2}, "cluster_size: 4194304 is not a power of two from 512 to 2097152"},
		{Options{Format: QCOW2, ClusterSize: 3 * minCluster}, "cluster_size: 1536 is not a power of two from 512 to 2097152"},
		{Options{Format: QCOW2, ClusterSize: -512}, "cluster_size: -512 is not a power of two from 512 to 2097152"},
		{Options{ClusterSize: 8192}, "cluster_size: raw has no clusters: only qcow2 has"},
		{Options{SectorSize: 1024}, "sector_size: 1024 is neither 512 nor 4096"},
		{Options{SectorSize: -1}, "sector_size: -1 is neither 512 nor 4096"},
		{with(options(VMDK, None), long), "sector_size: its disks have sectors of 512 bytes, not of 4096: take raw or qcow2"},
		{with(options(OVA, None), long), "sector_size: its disks have sectors of 512 bytes, not of 4096: take raw or qcow2"},
		{with(options(VHD, None), long), "sector_size: its disks have sectors of 512 bytes, not of 4096: take raw or qcow2"},
		{Options{Format: VHD, Time: when}, "id: vhd needs one that is not zero"},
		{Options{Format: VMDK}, "id: vmdk needs one that is not zero"},
		{with(options(VMDK, None), func(o *Options) { copy(o.ID[12:], "\xff\xff\xff\xff") }),
			"id: 24c73076409285dd9d98686affffffff: its last four bytes mean that there is no disk"},
		{with(options(VHD, None), at(0)), ""},
		{with(options(VHD, None), at(vhdLastTime)), ""},
		{with(options(VHD, None), at(vhdLastTime+1)), "time: 2136-02-07T06:28:16Z is not between 1970-01-01T00:00:00Z and 2136-02-07T06:28:15Z"},
		{with(options(OVA, None), at(-1)), "time: 1969-12-31T23:59:59Z is not between 1970-01-01T00:00:00Z and 2242-03-16T12:56:31Z"},
		{with(options(OVA, None), at(maxTarTime)), ""},
		{with(options(Raw, TarGzip), at(maxTarTime+1)), "time: 2242-03-16T12:56:32Z is not between 1970-01-01T00:00:00Z and 2242-03-16T12:56:31Z"},
		{Options{Format: OVA, Compression: "z", ClusterSize: 1}, `compression: "z" is none of [none gz xz zst tar.gz]
cluster_size: ova has no clusters: only qcow2 has
id: ova needs one that is not zero
time: 0001-01-01T00:00:00Z is not between 1970-01-01T00:00:00Z and 2242-03-16T12:56:31Z`},
	} {
		got := ""
		if err := test.o.Check(mib); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", test.o, got, test.want)
		}
	}
}

// nowhere takes everything.
type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// TestLargest writes the largest disks that there may be, with a byte at each end.
func TestLargest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		o    Options
		size int64
	}{
		{Options{Format: QCOW2}, maxSize},
		{Options{Format: QCOW2, ClusterSize: 8192}, 16 * tib},
		{options(VHD, None), vhdMaxSize},
		{options(VMDK, None), vmdkMaxSize},
		{options(OVA, None), vmdkMaxSize},
	} {
		name := create(t, newDisk(test.size, mib, part{0, noise(sector, 1)}, part{test.size - sector, noise(sector, 2)}), test.o)
		r, b := open(t, name), make([]byte, sector)
		for i, off := range []int64{0, test.size - sector} {
			if _, err := r.ReadAt(b, off); err != nil || !bytes.Equal(b, noise(sector, uint64(i+1))) {
				t.Errorf("%s: sector at %d: other bytes, or %v", test.o.Format, off, err)
			}
		}
		if test.o.Format != OVA {
			out := tooltest.Run(t, "qemu-img", "info", "-f", qemuFormat[test.o.Format], name)
			if want := fmt.Sprintf("(%d bytes)", test.size); !strings.Contains(out, want) {
				t.Errorf("qemu-img info has no %q:\n%s", want, out)
			}
		}
	}
}

// failing is a file on a full disk.
type failing struct{ left int64 }

var errFull = errors.New("no space left")

func (f *failing) WriteAt(p []byte, _ int64) (int, error) {
	if f.left -= int64(len(p)); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestErrors lets both sides fail: the error comes out, and no goroutine stays.
func TestErrors(t *testing.T) {
	errDisk := errors.New("bad disk")
	newDisk := func() Disk { return newDisk(5*mib, 1000, part{0, noise(100, 1)}, part{3 * mib, noise(mib, 2)}) }
	before := runtime.NumGoroutine()
	for _, f := range Formats {
		for _, c := range Compressions {
			if !together(f, c) {
				continue
			}
			for _, left := range []int64{0, 100, 500_000} {
				if _, err := Write(&failing{left}, newDisk(), options(f, c)); !errors.Is(err, errFull) {
					t.Errorf("%s.%s, full after %d bytes: %v", f, c, left, err)
				}
			}
			for fails := 1; ; fails++ {
				d, calls := newDisk(), 0
				good := d.Write
				d.Write = func(w io.WriterAt) error {
					if err := good(w); err != nil {
						return err
					}
					if calls++; calls == fails {
						return errDisk
					}
					return nil
				}
				_, err := Write(nowhere{}, d, options(f, c))
				if calls < fails {
					break // it was never called so often
				}
				if !errors.Is(err, errDisk) {
					t.Errorf("%s.%s, bad disk at call %d: %v", f, c, fails, err)
				}
			}
		}
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// TestBadDisk refuses disks that break their promises.
func TestBadDisk(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		parts []part
		want  string
	}{
		{"backwards", []part{{4096, noise(512, 1)}, {4000, noise(1, 1)}},
			"write raw: disk: a write at byte 4000 after one up to byte 4608: a disk must be written in ascending order"},
		{"too long", []part{{mib - 1, noise(2, 1)}}, "write raw: disk: a write of 2 bytes at byte 1048575 ends behind the disk's 1048576 bytes"},
		{"beyond", []part{{mib + 1, noise(2, 1)}}, "write raw: disk: a write of 2 bytes at byte 1048577 ends behind the disk's 1048576 bytes"},
	} {
		if _, err := Write(nowhere{}, newDisk(mib, 4096, test.parts...), Options{}); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestChanged refuses disks that write something else the second time.
func TestChanged(t *testing.T) {
	t.Parallel()
	all := []part{{0, noise(4096, 1)}, {mib, noise(4096, 2)}, {2 * mib, noise(4096, 3)}}
	for _, test := range []struct {
		name string
		then []part
	}{
		{"less", all[:2]},
		{"more", append(slices.Clone(all), part{2*mib + 512<<10, noise(1, 1)})},
		{"elsewhere", []part{all[0], {mib + 512<<10, all[1].b}, all[2]}},
	} {
		for _, o := range []Options{options(QCOW2, None), options(OVA, None), options(Raw, TarGzip)} {
			first, then := newDisk(3*mib, mib, all...), newDisk(3*mib, mib, test.then...)
			calls := 0
			d := Disk{3 * mib, func(w io.WriterAt) error {
				if calls++; calls == 1 {
					return first.Write(w)
				}
				return then.Write(w)
			}}
			if _, err := Write(nowhere{}, d, o); !errors.Is(err, errChanged) {
				t.Errorf("%s, %s: %v", o.Format, test.name, err)
			}
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	const size = gib
	text := bytes.Repeat([]byte("all work and no play makes a dull benchmark; "), 4*mib/45)
	d := newDisk(size, 256<<10, part{0, noise(512, 1)}, part{mib, noise(24*mib, 1)}, part{512 * mib, text}, part{size - 512, noise(512, 2)})
	for _, o := range []Options{
		options(QCOW2, None), options(VHD, None), options(VMDK, None), options(OVA, None),
		options(Raw, Gzip), options(Raw, XZ), options(Raw, Zstd), options(Raw, TarGzip),
	} {
		b.Run(string(o.Format)+"."+string(o.Compression), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Write(nowhere{}, d, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
