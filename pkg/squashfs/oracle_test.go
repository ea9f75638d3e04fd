package squashfs

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

var update = flag.Bool("update", false, "write the transcripts in testdata again")

func writeFile(t testing.TB, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.sqsh")
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pipe runs a tool with a standard input, and returns its standard output.
func pipe(t testing.TB, stdin []byte, tool string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(tooltest.Need(t, tool), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// What unsquashfs says of an image of ours is in testdata; our reader says the same.
func TestTranscript(t *testing.T) {
	t.Parallel()
	tr, err := sample(t).Filter(func(n tree.Node) bool {
		if n.Minor > 255 || n.Path == "link/sym-long" { // unsquashfs 4.5 prints such minor numbers wrong; and one line is long enough
			return false
		}
		return !strings.HasPrefix(n.Path, "many/") || strings.HasPrefix(n.Path, "many/000")
	})
	if err != nil {
		t.Fatal(err)
	}
	img := mustWrite(t, tr, Options{BlockSize: testBlock, ModTime: time.Unix(1700000000, 0)})
	const name, command = "testdata/unsquashfs.txt", "$ unsquashfs -llnumeric -UTC image.sqsh\n"
	run := func(t *testing.T) string {
		return command + tooltest.Run(t, "unsquashfs", "-llnumeric", "-UTC", writeFile(t, img))
	}
	if *update {
		if err := os.WriteFile(name, []byte(run(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	transcript := string(readFile(t, name))
	if got, want := lines(mustRead(t, img)), parseList(t, transcript); !slices.Equal(got, want) {
		t.Errorf("our reader says\n%s\n%s has\n%s", strings.Join(got, "\n"), name, strings.Join(want, "\n"))
	}
	t.Run("unsquashfs", func(t *testing.T) {
		if got := run(t); got != transcript {
			t.Errorf("unsquashfs does not say what %s has, but\n%s", name, got)
		}
	})
}

// lines describes the nodes of a tree, parseList what unsquashfs prints, in the same words.
func lines(t *tree.Tree) (all []string) {
	for n := range t.All() {
		size := fmt.Sprint(n.Size())
		switch {
		case n.Mode&fs.ModeDevice != 0:
			size = fmt.Sprintf("%d,%d", n.Major, n.Minor)
		case n.Mode&fs.ModeSymlink != 0:
			size = fmt.Sprint(len(n.Link))
		case n.Mode.IsDir():
			size = "-"
		}
		name := path.Join("squashfs-root", n.Path)
		if n.Mode&fs.ModeSymlink != 0 {
			name += " -> " + n.Link
		}
		all = append(all, fmt.Sprintf("%s %d/%d %s %s %s", lsMode(n.Mode), n.UID, n.GID, size, n.ModTime.Format("2006-01-02 15:04"), name))
	}
	return all
}

var listLine = regexp.MustCompile(`(?m)^(\S{10}) (\S+) +(\d+(?:, *\d+)?) (\d{4}-\d\d-\d\d \d\d:\d\d) (.*)$`)

func parseList(t *testing.T, text string) (lines []string) {
	for _, m := range listLine.FindAllStringSubmatch(text, -1) {
		if m[1][0] == 'd' {
			m[3] = "-" // the size of the listing
		}
		lines = append(lines, strings.Join([]string{m[1], m[2], strings.ReplaceAll(m[3], " ", ""), m[4], m[5]}, " "))
	}
	return lines
}

// lsMode is a mode as ls prints it.
func lsMode(m fs.FileMode) string {
	types := map[fs.FileMode]string{
		0: "-", fs.ModeDir: "d", fs.ModeSymlink: "l", fs.ModeDevice: "b", fs.ModeDevice | fs.ModeCharDevice: "c",
		fs.ModeNamedPipe: "p", fs.ModeSocket: "s",
	}
	p := []byte(m.Perm().String())
	p[0] = types[m.Type()][0]
	for _, s := range []struct {
		bit fs.FileMode
		at  int
		x   byte
		no  byte
	}{{fs.ModeSetuid, 3, 's', 'S'}, {fs.ModeSetgid, 6, 's', 'S'}, {fs.ModeSticky, 9, 't', 'T'}} {
		if m&s.bit == 0 {
			continue
		}
		if p[s.at] == 'x' {
			p[s.at] = s.x
		} else {
			p[s.at] = s.no
		}
	}
	return string(p)
}

// unsquashfs unpacks our images: same contents, links and modes.
func TestUnsquashfs(t *testing.T) {
	t.Parallel()
	tr, err := sample(t).Filter(func(n tree.Node) bool { // what anybody may make
		return n.Mode&fs.ModeDevice == 0 && n.UID < 65535
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {Thrifty: true}, {BlockSize: testBlock}, {Compression: XZ, BlockSize: 128 << 10}, {BlockSize: 1 << 20, Level: 1}} {
		t.Run(fmt.Sprintf("%s-%d", o.Compression, o.BlockSize), func(t *testing.T) {
			t.Parallel()
			img := writeFile(t, mustWrite(t, tr, o))
			dir := filepath.Join(t.TempDir(), "root")
			tooltest.Run(t, "unsquashfs", "-strict-errors", "-no-xattrs", "-quiet", "-no-progress", "-dest", dir, img)
			for n := range tr.All() {
				name := filepath.Join(dir, filepath.FromSlash(n.Path))
				st, err := os.Lstat(name)
				if err != nil {
					t.Fatal(err)
				}
				got, want := st.Mode()&^(fs.ModeSetuid|fs.ModeSetgid), n.Mode&^(fs.ModeSetuid|fs.ModeSetgid) // which root alone may keep
				if n.Mode.Type() == fs.ModeSymlink {
					got, want = got.Type(), want.Type()
				}
				if got != want {
					t.Errorf("%s: mode %v, want %v", n.Path, got, want)
				}
				switch {
				case n.Mode.IsRegular() && st.Mode().Perm()&0o400 != 0:
					blob, err := tree.File(name)
					if err != nil {
						t.Fatal(err)
					}
					sameContent(t, n.Path, blob, n.Content)
				case n.Mode.Type() == fs.ModeSymlink:
					if got, err := os.Readlink(name); err != nil || got != n.Link {
						t.Errorf("%s: link to %q, %v", n.Path, got, err)
					}
				}
			}
			if a, b := filepath.Join(dir, "link/hard-1"), filepath.Join(dir, "z/y/hard-3"); !sameFile(t, a, b) {
				t.Errorf("%s and %s are two files", a, b)
			}
		})
	}
}

func sameFile(t *testing.T, a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

// A second reader, of squashfs-tools-ng, makes a tar of our images: same owners, times, extended attributes, hard links, devices.
func TestSqfs2tar(t *testing.T) {
	t.Parallel()
	want := sampleWithoutSockets(t)
	for _, o := range []Options{{}, {BlockSize: testBlock}, {Compression: XZ, BlockSize: 64 << 10}} {
		t.Run(fmt.Sprintf("%s-%d", o.Compression, o.BlockSize), func(t *testing.T) {
			t.Parallel()
			out := pipe(t, nil, "sqfs2tar", "-s", "-r", ".", writeFile(t, mustWrite(t, want, o)))
			sameTree(t, fromTar(t, out), want)
		})
	}
}

func sampleWithoutSockets(t *testing.T) *tree.Tree { // which tar has not
	t.Helper()
	tr, err := sample(t).Filter(func(n tree.Node) bool { return n.Mode&fs.ModeSocket == 0 })
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

const xattrRecord = "SCHILY.xattr."

func fromTar(t *testing.T, archive []byte) *tree.Tree {
	t.Helper()
	var nodes []tree.Node
	at := map[string]int{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n := tree.Node{
			Path: path.Clean(h.Name), Mode: h.FileInfo().Mode(), UID: uint32(h.Uid), GID: uint32(h.Gid), ModTime: h.ModTime,
			Major: uint32(h.Devmajor), Minor: uint32(h.Devminor), Xattrs: map[string][]byte{},
		}
		for k, v := range h.PAXRecords {
			if name, ok := strings.CutPrefix(k, xattrRecord); ok {
				n.Xattrs[name] = []byte(v)
			}
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			n.Link = h.Linkname
		case tar.TypeLink:
			n = nodes[at[path.Clean(h.Linkname)]]
			n.Link, n.Path = n.Path, path.Clean(h.Name)
		case tar.TypeReg:
			p, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			n.Content = tree.Bytes(p)
		}
		at[n.Path] = len(nodes)
		nodes = append(nodes, n)
	}
	return mustTree(t, nodes...)
}

func toTar(t *testing.T, tr *tree.Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for n := range tr.All() {
		h := &tar.Header{
			Format: tar.FormatPAX, Name: "./" + n.Path, Mode: int64(encodePermissions(n.Mode)), Uid: int(n.UID), Gid: int(n.GID), ModTime: n.ModTime,
			Linkname: n.Link, Devmajor: int64(n.Major), Devminor: int64(n.Minor), PAXRecords: map[string]string{},
		}
		if n.ModTime.IsZero() {
			h.ModTime = time.Unix(0, 0)
		}
		for _, name := range slices.Sorted(maps.Keys(n.Xattrs)) {
			h.PAXRecords[xattrRecord+name] = string(n.Xattrs[name])
		}
		switch n.Mode.Type() {
		case fs.ModeDir:
			h.Typeflag = tar.TypeDir
			h.Name += "/"
		case fs.ModeSymlink:
			h.Typeflag = tar.TypeSymlink
		case fs.ModeDevice:
			h.Typeflag = tar.TypeBlock
		case fs.ModeDevice | fs.ModeCharDevice:
			h.Typeflag = tar.TypeChar
		case fs.ModeNamedPipe:
			h.Typeflag = tar.TypeFifo
		default:
			h.Typeflag = tar.TypeReg
			if n.IsHardLink() {
				h.Typeflag = tar.TypeLink
				h.Linkname = "./" + n.Link
			} else {
				h.Size = n.Size()
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%s: %v", n.Path, err)
		}
		if h.Size > 0 {
			p, err := tree.ReadAll(n.Content)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What mksquashfs makes is read back.
func TestMksquashfs(t *testing.T) {
	t.Parallel()
	want := sampleWithoutSockets(t)
	archive := toTar(t, want)
	for _, args := range []string{
		"-comp zstd",
		"-comp zstd -Xcompression-level 18 -b 4096",
		"-comp zstd -b 1M -exports -no-duplicates",
		"-comp zstd -b 4096 -tailends",
		"-comp zstd -b 4096 -no-fragments -no-sparse",
		"-comp zstd -b 4096 -noI -noD -noF -noX -noId",
		"-comp xz",
		"-comp xz -b 1M -Xdict-size 100%",
		"-comp xz -b 4096 -Xbcj x86,arm -tailends",
		"-comp xz -b 128K -Xdict-size 8K",
		"-comp gzip",
		"-comp gzip -b 4096 -Xcompression-level 1 -Xwindow-size 8",
		"-comp gzip -b 1M -tailends -nopad",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(t.TempDir(), "image")
			all := append([]string{"-", name, "-tar", "-no-progress", "-quiet", "-mkfs-time", "7"}, strings.Fields(args)...)
			pipe(t, archive, "mksquashfs", all...)
			sameButRoot(t, mustRead(t, readFile(t, name)), want) // mksquashfs 4.5 does not take the root from a tar
		})
	}
}

func sameButRoot(t *testing.T, got, want *tree.Tree) {
	t.Helper()
	root, _ := got.Lookup(tree.Root)
	sameTree(t, got, mustTree(t, append(slices.Collect(want.All())[1:], root)...))
}

func TestMksquashfsAllRoot(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image")
	pipe(t, toTar(t, sampleWithoutSockets(t)), "mksquashfs", "-", name, "-tar", "-comp", "zstd", "-no-progress", "-quiet",
		"-all-root", "-no-xattrs")
	for n := range mustRead(t, readFile(t, name)).All() {
		if len(n.Xattrs) > 0 || n.UID != 0 || n.GID != 0 {
			t.Errorf("%s: owner %d:%d, attributes %v", n.Path, n.UID, n.GID, n.Xattrs)
		}
	}
}

func TestMksquashfsPseudo(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	pipe(t, nil, "mksquashfs", dir, name, "-comp", "zstd", "-no-progress", "-quiet", "-p", "file M 70 4755 9 10", "-p", "d D 71 750 5 6",
		"-p", "d/dev C 72 600 0 0 5 1", "-p", "d/made F 73 640 7 8 echo made", "-p", "sym S 74 777 1 1 d/made", "-p", "d/socket I 75 600 0 0 s")
	want := mustTree(t,
		tree.Node{Path: "file", Mode: fs.ModeSetuid | 0o755, UID: 9, GID: 10, ModTime: time.Unix(70, 0), Content: tree.String("content")},
		tree.Node{Path: "d", Mode: fs.ModeDir | 0o750, UID: 5, GID: 6, ModTime: time.Unix(71, 0)},
		tree.Node{Path: "d/dev", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1, ModTime: time.Unix(72, 0)},
		tree.Node{Path: "d/made", Mode: 0o640, UID: 7, GID: 8, ModTime: time.Unix(73, 0), Content: tree.String("made\n")},
		tree.Node{Path: "sym", Mode: fs.ModeSymlink | 0o777, UID: 1, GID: 1, ModTime: time.Unix(74, 0), Link: "d/made"},
		tree.Node{Path: "d/socket", Mode: fs.ModeSocket | 0o600, ModTime: time.Unix(75, 0)})
	sameButRoot(t, mustRead(t, readFile(t, name)), want) // which is the temporary directory
}
