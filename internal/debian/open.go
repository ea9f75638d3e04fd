package debian

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"github.com/talosmith/talosmith/pkg/tree"
)

// maxData limits what a package may unpack to.
const maxData = 4 << 30

// Open returns the files of a .deb. They are read from an uncompressed copy beside it, made by the first call.
func Open(deb string) (*tree.Tree, error) {
	t, err := open(deb)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", deb, err)
	}
	return t, nil
}

func open(deb string) (*tree.Tree, error) {
	name := deb + ".tar"
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		err = extractData(deb, name)
		if err != nil {
			return nil, err
		}
	}
	blob, err := tree.File(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readTar(f, blob.(io.ReaderAt))
}

// extractData writes the uncompressed data archive of a .deb to a file, which appears complete.
func extractData(deb, name string) error {
	in, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer in.Close()
	data, err := dataArchive(in)
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(path.Dir(name), "unpack-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	n, err := io.Copy(out, io.LimitReader(data, maxData+1))
	if err == nil && n > maxData {
		err = fmt.Errorf("it unpacks to more than %d bytes", int64(maxData))
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), name)
}

// dataArchive finds the member data.tar.* of the ar archive that a .deb is: "!<arch>\n", then for each member a header of 60
// bytes (name 16, mtime 12, uid 6, gid 6, mode 8, size 10, "`\n") and its bytes, padded to an even number.
func dataArchive(r io.ReadSeeker) (io.Reader, error) {
	var magic [8]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil || string(magic[:]) != "!<arch>\n" {
		return nil, errors.New("not a Debian package: no ar archive")
	}
	for {
		var h [60]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return nil, fmt.Errorf("read ar header: %w", err)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
		if err != nil || size < 0 || string(h[58:]) != "`\n" {
			return nil, errors.New("read ar header: damaged")
		}
		name := strings.TrimRight(string(h[:16]), "/ ")
		if kind, ok := strings.CutPrefix(name, "data.tar"); ok {
			return decompress(io.LimitReader(r, size), kind)
		}
		if _, err := r.Seek(size+size%2, io.SeekCurrent); err != nil {
			return nil, err
		}
	}
}

func decompress(r io.Reader, ext string) (io.Reader, error) {
	switch ext {
	case "":
		return r, nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return xz.NewReader(r, 1<<27)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<27))
	}
	return nil, fmt.Errorf("data.tar%s: unknown compression", ext)
}

// readTar makes a tree of an uncompressed tar; the contents stay in at, which has the same bytes as f.
func readTar(f io.ReadSeeker, at io.ReaderAt) (*tree.Tree, error) {
	var nodes []tree.Node
	place := map[string]int{}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return tree.New(nodes)
		}
		if err != nil {
			return nil, err
		}
		n := tree.Node{
			Path: path.Clean(h.Name), Mode: h.FileInfo().Mode(), UID: uint32(h.Uid), GID: uint32(h.Gid),
			ModTime: time.Unix(h.ModTime.Unix(), 0),
		}
		switch h.Typeflag {
		case tar.TypeDir:
		case tar.TypeReg:
			offset, err := f.Seek(0, io.SeekCurrent) // a tar.Reader reads no byte ahead
			if err != nil {
				return nil, err
			}
			n.Content = tree.Section(at, offset, h.Size)
		case tar.TypeSymlink:
			n.Link = h.Linkname
		case tar.TypeLink:
			i, ok := place[path.Clean(h.Linkname)]
			if !ok {
				return nil, fmt.Errorf("%s: hard link to %q, which is not before it", n.Path, h.Linkname)
			}
			n = nodes[i]
			n.Path = path.Clean(h.Name) // a second file: who wants hard links reads the package itself
		default:
			return nil, fmt.Errorf("%s: type %q is not supported", n.Path, h.Typeflag)
		}
		place[n.Path] = len(nodes)
		nodes = append(nodes, n)
	}
}

// Unpack writes the files of a .deb below a directory, with their permissions: what a test needs to run a program of another
// Debian with its own loader and libraries. Links that would lead out of the directory are not followed.
func Unpack(deb, dir string) error {
	t, err := Open(deb)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for n := range t.All() {
		if err := unpackNode(root, n); err != nil {
			return fmt.Errorf("unpack %s: %w", deb, err)
		}
	}
	return nil
}

func unpackNode(root *os.Root, n tree.Node) error {
	switch {
	case n.Path == tree.Root:
		return nil
	case n.Mode.IsDir():
		// A directory of one package may be a link of another (lib, of base-files): it is followed.
		return root.MkdirAll(n.Path, 0o755)
	case n.Mode.Type() == fs.ModeSymlink:
		if err := root.Remove(n.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return root.Symlink(n.Link, n.Path)
	}
	if err := root.Remove(n.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w, err := root.OpenFile(n.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, n.Mode.Perm()|0o200)
	if err != nil {
		return err
	}
	return errors.Join(tree.Copy(w, n.Content), w.Close())
}
