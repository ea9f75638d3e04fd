package initramfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/tree"
)

var epoch = time.Unix(1767225600, 0)

func sample(t testing.TB) *tree.Tree {
	t.Helper()
	tr, err := tree.New([]tree.Node{
		{Path: "usr", Mode: fs.ModeDir | 0o755, ModTime: epoch},
		{Path: "usr/lib", Mode: fs.ModeDir | 0o755, ModTime: epoch},
		{Path: "usr/lib/firmware", Mode: fs.ModeDir | 0o750, ModTime: epoch},
		{Path: "usr/lib/firmware/a.bin", Mode: 0o644, ModTime: epoch, Content: tree.String("12345")},
		{Path: "usr/lib/firmware/b.bin", Mode: fs.ModeSymlink | 0o777, ModTime: epoch, Link: "a.bin"},
		{Path: "usr/lib/empty", Mode: 0o600 | fs.ModeSetuid, ModTime: epoch, UID: 3, GID: 4, Content: tree.String("")},
		{Path: "0.sqsh", Mode: 0o644, ModTime: epoch, Content: tree.Zeros(4096)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func archive(t testing.TB, tr *tree.Tree) []byte {
	t.Helper()
	blob, err := initramfs.Archive(tr)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tree.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// describe says everything of an initramfs, a line a member.
func describe(t testing.TB, b []byte) (lines []string) {
	t.Helper()
	segments, err := initramfs.Segments(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		err := initramfs.Walk(s, func(m initramfs.Member) error {
			var content []byte
			if m.Content != nil {
				if content, err = io.ReadAll(m.Content); err != nil {
					return err
				}
			}
			lines = append(lines, fmt.Sprintf("%s %s %v %d:%d %d %q %d", s.Compression, m.Path, m.Mode, m.UID, m.GID, m.ModTime.Unix(), m.Link, len(content)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

var sampleLines = []string{
	`0.sqsh -rw-r--r-- 0:0 1767225600 "" 4096`,
	`usr drwxr-xr-x 0:0 1767225600 "" 0`,
	`usr/lib drwxr-xr-x 0:0 1767225600 "" 0`,
	`usr/lib/empty urw------- 3:4 1767225600 "" 0`,
	`usr/lib/firmware drwxr-x--- 0:0 1767225600 "" 0`,
	`usr/lib/firmware/a.bin -rw-r--r-- 0:0 1767225600 "" 5`,
	`usr/lib/firmware/b.bin Lrwxrwxrwx 0:0 1767225600 "a.bin" 0`,
}

func prefixed(prefix string, lines []string) []string {
	var all []string
	for _, l := range lines {
		all = append(all, prefix+" "+l)
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	b := archive(t, sample(t))
	if len(b)%512 != 0 {
		t.Errorf("%d bytes, not a multiple of 512", len(b))
	}
	if got := describe(t, b); !slices.Equal(got, prefixed("plain", sampleLines)) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// compressors are the real tools; what they write must be walked to its very end.
var compressors = map[string][]string{
	"zstd": {"zstd", "-18", "-q", "-c"},
	"xz":   {"xz", "-C", "crc32", "-0", "-e", "-c"},
	"gzip": {"gzip", "-9", "-n", "-c"},
}

func compress(t testing.TB, kind string, b []byte) []byte {
	t.Helper()
	args := compressors[kind]
	tool := args[0]
	if kind != "gzip" { // in every Debian
		tool = tooltest.Need(t, tool)
	}
	cmd := exec.Command(tool, args[1:]...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSegmentsOfRealTools(t *testing.T) {
	plain := archive(t, sample(t))
	big := append(slices.Clone(plain), plain...) // two archives in one stream
	noise := make([]byte, 3<<20)                 // many blocks and chunks
	for i := range noise {
		noise[i] = byte(i * i >> 7)
	}
	tr, err := tree.New([]tree.Node{{Path: "noise", Mode: 0o644, Content: tree.Bytes(noise)}})
	if err != nil {
		t.Fatal(err)
	}
	noisy := archive(t, tr)

	file := slices.Clone(plain)
	want := prefixed("plain", sampleLines)
	for _, kind := range []string{"xz", "zstd", "gzip"} {
		file = append(file, compress(t, kind, big)...)
		file = append(file, compress(t, kind, noisy)...)
		want = append(want, prefixed(kind, sampleLines)...)
		want = append(want, prefixed(kind, sampleLines)...)
		want = append(want, fmt.Sprintf("%s noise -rw-r--r-- 0:0 0 \"\" %d", kind, len(noise)))
	}
	file = append(file, make([]byte, 512-len(file)%4)...)
	file = append(file, plain...)
	want = append(want, prefixed("plain", sampleLines)...)
	if got := describe(t, file); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCPIOReadsOurArchive(t *testing.T) {
	dir := t.TempDir()
	cpio := tooltest.Need(t, "cpio")
	cmd := exec.Command(cpio, "-idm", "--no-preserve-owner")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(archive(t, sample(t)))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for n := range sample(t).All() {
		st, err := os.Lstat(filepath.Join(dir, n.Path))
		if err != nil {
			t.Error(err)
			continue
		}
		if n.Path != "." && (st.Mode()&^fs.ModeSetuid != n.Mode&^fs.ModeSetuid || n.Mode.IsRegular() && !st.ModTime().Equal(epoch)) {
			t.Errorf("%s: %v at %v, want %v", n.Path, st.Mode(), st.ModTime(), n.Mode)
		}
		if n.Mode.IsRegular() && st.Size() != n.Size() {
			t.Errorf("%s has %d bytes, want %d", n.Path, st.Size(), n.Size())
		}
	}
}

// TestBytesOfCPIO compares with GNU cpio as the official imager calls it: the same but for inode numbers, which count from 0 there.
func TestBytesOfCPIO(t *testing.T) {
	dir := t.TempDir()
	var names bytes.Buffer
	for n := range sample(t).All() {
		if n.Path == "." {
			continue
		}
		fmt.Fprintln(&names, n.Path)
		name := filepath.Join(dir, n.Path)
		var err error
		switch n.Mode.Type() {
		case fs.ModeDir:
			err = os.Mkdir(name, 0o755)
		case fs.ModeSymlink:
			err = os.Symlink(n.Link, name)
		default:
			var content []byte
			if content, err = tree.ReadAll(n.Content); err == nil {
				err = os.WriteFile(name, content, 0o600)
			}
		}
		if err == nil && n.Mode.Type() != fs.ModeSymlink {
			err = os.Chmod(name, n.Mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(tooltest.Need(t, "cpio"), "-H", "newc", "--create", "--reproducible", "-R", "+0:+0")
	cmd.Dir, cmd.Stdin = dir, &names
	theirs, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := archive(t, sample(t))
	if len(ours) != len(theirs) {
		t.Fatalf("ours has %d bytes, cpio's %d", len(ours), len(theirs))
	}
	blank := func(b []byte) []byte { // what may differ: inode, owner, nlink (the file system's), mtime
		b = bytes.Clone(b)
		for at := 0; ; {
			i := bytes.Index(b[at:], []byte("070701"))
			if i < 0 {
				return b
			}
			at += i + 6
			copy(b[at:], "iiiiiiii")
			copy(b[at+16:], strings.Repeat("-", 32))
		}
	}
	if !bytes.Equal(blank(ours), blank(theirs)) {
		t.Errorf("ours\n%q\ncpio's\n%q", blank(ours)[:1024], blank(theirs)[:1024])
	}
}

func TestJoinAligns(t *testing.T) {
	plain := tree.Bytes(archive(t, sample(t)))
	odd := tree.Bytes(compress(t, "zstd", archive(t, sample(t))))
	for odd.Size()%4 == 0 {
		t.Fatal("the sample must compress to an odd length")
	}
	joined, err := initramfs.Join(plain, odd, plain, odd, odd)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tree.ReadAll(joined)
	if err != nil {
		t.Fatal(err)
	}
	segments, err := initramfs.Segments(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, s := range segments {
		kinds = append(kinds, string(s.Compression))
	}
	if got := strings.Join(kinds, " "); got != "plain zstd plain zstd zstd" {
		t.Errorf("segments %s", got)
	}
	if _, err := initramfs.Join(tree.String("nonsense")); err == nil {
		t.Error("nonsense was joined")
	}
}

func TestCompressZstdIsOneFrameAndDeterministic(t *testing.T) {
	content := tree.Concat(tree.Bytes(archive(t, sample(t))), tree.Zeros(40<<20))
	var first []byte
	for range 2 {
		f, err := os.Create(filepath.Join(t.TempDir(), "z"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := initramfs.CompressZstd(f, content, zstd.SpeedBetterCompression, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(f.Name())
		if err != nil || int64(len(b)) != n {
			t.Fatalf("%d bytes in the file, %d said, %v", len(b), n, err)
		}
		if first != nil && !bytes.Equal(first, b) {
			t.Error("two runs differ")
		}
		first = b
		segments, err := initramfs.Segments(bytes.NewReader(b), n)
		if err != nil || len(segments) != 1 {
			t.Fatalf("%d segments, %v", len(segments), err)
		}
		if b[4]&4 == 0 {
			t.Error("the frame has no checksum")
		}
	}
}

// TestCompressXZ lets xz say what the stream is: one with the check that the kernel knows.
func TestCompressXZ(t *testing.T) {
	plain := archive(t, sample(t))
	var first []byte
	for range 2 {
		f, err := os.Create(filepath.Join(t.TempDir(), "a.xz"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := initramfs.CompressXZ(f, tree.Concat(tree.Bytes(plain), tree.Bytes(plain)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(f.Name())
		if err != nil || int64(len(b)) != n || first != nil && !bytes.Equal(first, b) {
			t.Fatalf("%d bytes in the file, %d said, %v", len(b), n, err)
		}
		first = b
		if got, want := describe(t, b), append(prefixed("xz", sampleLines), prefixed("xz", sampleLines)...); !slices.Equal(got, want) {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
		tooltest.Run(t, "xz", "--test", f.Name())
		if list := strings.Fields(tooltest.Run(t, "xz", "--robot", "--list", f.Name())); !slices.Contains(list, "CRC32") {
			t.Errorf("xz says %q", list)
		}
	}
}

func TestCompressZstdRefusesWindows(t *testing.T) {
	for window, says := range map[int]string{256 << 20: "the kernel takes at most 134217728", 1000: "window"} {
		f, err := os.Create(filepath.Join(t.TempDir(), "z"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := initramfs.CompressZstd(f, tree.Zeros(1), zstd.SpeedFastest, window); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("a window of %d bytes: %v", window, err)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	for want, n := range map[string]tree.Node{
		"over the format's limit":  {Path: "a", Mode: 0o644, Content: tree.Zeros(1 << 32)},
		"over the kernel's limit":  {Path: strings.Repeat("a/", 2047) + "bc", Mode: 0o644, Content: tree.Zeros(0)},
		"marks the end":            {Path: "TRAILER!!!", Mode: 0o644, Content: tree.Zeros(0)},
		"1970 to 2106":             {Path: "a", Mode: 0o644, Content: tree.Zeros(0), ModTime: time.Unix(1<<32, 0)},
		"cannot be written":        {Path: "a", Mode: fs.ModeNamedPipe},
		"the link's target has 40": {Path: "a", Mode: fs.ModeSymlink, Link: strings.Repeat("a", 4096)},
	} {
		tr, err := tree.New([]tree.Node{n})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := initramfs.Archive(tr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	tr, err := tree.New([]tree.Node{{Path: "a", Mode: 0o644, Content: tree.Zeros(1<<32 - 1), ModTime: time.Unix(1<<32-1, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := initramfs.Archive(tr); err != nil {
		t.Errorf("at the limits: %v", err)
	}
}

func TestHostileFiles(t *testing.T) {
	plain := archive(t, sample(t))
	member := func(name string, mode, size string) string {
		head := "070701" + strings.Repeat("0", 8) + mode + strings.Repeat("0", 32) + size + strings.Repeat("0", 32) + fmt.Sprintf("%08X", len(name)+1) + "00000000"
		b := head + name + "\x00"
		return b + strings.Repeat("\x00", (4-len(b)%4)%4)
	}
	end := member("TRAILER!!!", "00000000", "00000000")
	zframe := compress(t, "zstd", []byte(member("a", "000081A4", "00000000")))
	for name, c := range map[string]struct{ file, want string }{
		"text":                {"hello world", "no cpio archive"},
		"truncated":           {string(plain[:700]), "ends behind the file"},
		"no trailer":          {member("a", "000081A4", "00000000"), "no trailer"},
		"no trailer in zstd":  {string(zframe), "no trailer"},
		"huge size":           {member("a", "000081A4", "FFFFFFFF") + end, "ends behind the file"},
		"no hex":              {member("a", "000081A4", "0000x000") + end, "hexadecimal"},
		"misaligned":          {string(compress(t, "gzip", []byte(end))) + "\x00" + end, "multiple of 4"},
		"out of the root":     {member("../../etc/passwd", "000081A4", "00000000") + end, "leaves the root"},
		"no file type":        {member("a", "000001A4", "00000000") + end, "file type"},
		"negative size":       {string(compress(t, "zstd", []byte(member("a", "000081A4", "-0000001")+end))), "size"},
		"truncated frame":     {string(zframe[:len(zframe)-6]), "unexpected EOF"},
		"zstd dictionary":     {"\x28\xb5\x2f\xfd\x01\x00\x00\x00\x00\x00\x00", "dictionary"},
		"truncated xz":        {string(compress(t, "xz", plain)[:200]), "unexpected EOF"},
		"an endless xz index": {"\xfd7zXZ\x00\x00\x01....\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "9 bytes"},
	} {
		b := []byte(c.file)
		segments, err := initramfs.Segments(bytes.NewReader(b), int64(len(b)))
		for _, s := range segments {
			if err == nil {
				err = initramfs.Walk(s, func(m initramfs.Member) error {
					if m.Content == nil {
						return nil
					}
					_, err := io.Copy(io.Discard, m.Content)
					return err
				})
			}
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// TestGzipIsInflatedWithin: a few bytes of gzip are many bytes of zeros.
func TestGzipIsInflatedWithin(t *testing.T) {
	one := compress(t, "gzip", make([]byte, 1<<20))
	two := slices.Concat(one, one)
	if s, err := initramfs.SegmentsWithin(bytes.NewReader(two), int64(len(two)), 2<<20+1); len(s) != 2 || err != nil {
		t.Errorf("%d segments, %v", len(s), err)
	}
	_, err := initramfs.SegmentsWithin(bytes.NewReader(two), int64(len(two)), 2<<20-1)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("gzip segment at byte %d: more than ", len(one))) {
		t.Errorf("error %v", err)
	}
}

func TestWalkStopsEarly(t *testing.T) {
	b := archive(t, sample(t))
	segments, err := initramfs.Segments(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	stop := errors.New("stop")
	for _, last := range []error{initramfs.SkipAll, stop} {
		err = initramfs.Walk(segments[0], func(m initramfs.Member) error {
			seen = append(seen, m.Path)
			return last
		})
		if errors.Is(err, stop) != errors.Is(last, stop) {
			t.Errorf("error %v", err)
		}
	}
	if len(seen) != 2 {
		t.Errorf("saw %q", seen)
	}
}

func FuzzRead(f *testing.F) {
	plain := archive(f, sample(f))
	f.Add(plain[:len(plain)-4608])
	f.Add([]byte("\x28\xb5\x2f\xfd\x24\x05\x29\x00\x00hello\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		segments, err := initramfs.Segments(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		at := int64(0)
		for _, s := range segments {
			if s.Offset < at || s.Size <= 0 || s.Offset+s.Size > int64(len(b)) {
				t.Fatalf("segment %+v of %d bytes", s, len(b))
			}
			at = s.Offset + s.Size
			n := 0
			_ = initramfs.Walk(s, func(m initramfs.Member) error {
				if !fs.ValidPath(m.Path) {
					t.Fatalf("path %q", m.Path)
				}
				if n++; n > 1000 {
					return initramfs.SkipAll
				}
				return nil
			})
		}
	})
}

func BenchmarkCompressZstd(b *testing.B) {
	content := make([]byte, 32<<20)
	for i := range content {
		content[i] = byte(i>>3) ^ byte(i>>11)
	}
	f, err := os.Create(filepath.Join(b.TempDir(), "z"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := initramfs.CompressZstd(f, tree.Bytes(content), zstd.SpeedDefault, 8<<20); err != nil {
			b.Fatal(err)
		}
	}
}
