package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Limits of what a Reader takes. Images of root file systems are far below; whoever crafts an image cannot make a Reader use
// more memory or time.
const (
	MaxNodes    = 1 << 18   // files, directories, … of an image, each name of a hard link included
	MaxPath     = 4096      // bytes of a path
	MaxLink     = 65535     // bytes of a symbolic link's target
	MaxText     = 64 << 20  // bytes of all paths, link targets and extended attributes together
	MaxMetadata = 256 << 20 // bytes of metadata to uncompress, counting again what is needed again after the cache forgot it
)

// ErrInvalid is wrapped by errors about an image that is damaged or over the limits.
var ErrInvalid = errors.New("invalid squashfs image")

var (
	_ fs.ReadDirFS  = (*Reader)(nil)
	_ fs.ReadFileFS = (*Reader)(nil)
	_ fs.StatFS     = (*Reader)(nil)
	_ fs.ReadLinkFS = (*Reader)(nil)
)

// Reader is an image. It is an [fs.FS] that follows no symbolic link. It can be used by many goroutines at once, and reads the
// image whenever it needs something of it.
type Reader struct {
	r    io.ReaderAt
	sb   superblock
	meta *metaReader
	data *dataReader
	tree func() (*tree.Tree, error)
}

// NewReader reads the superblock of an image. Whatever follows the image in r is ignored.
func NewReader(r io.ReaderAt) (*Reader, error) {
	var p [superblockSize]byte
	if n, err := r.ReadAt(p[:], 0); n < len(p) {
		if err == io.EOF {
			err = fmt.Errorf("%w: it has %d bytes, a superblock has %d", ErrInvalid, n, len(p))
		}
		return nil, fmt.Errorf("read squashfs superblock: %w", err)
	}
	var sb superblock
	decode(p[:], &sb)
	if err := sb.check(); err != nil {
		return nil, fmt.Errorf("read squashfs superblock: %w", err)
	}
	d, err := newDecompressor(sb)
	if err != nil {
		return nil, fmt.Errorf("read squashfs superblock: %w", err)
	}
	section := io.NewSectionReader(r, 0, int64(sb.BytesUsed))
	rd := &Reader{r: section, sb: sb, meta: newMetaReader(section, d)}
	rd.data = newDataReader(section, d, rd.meta, sb)
	rd.tree = sync.OnceValues(rd.load)
	return rd, nil
}

func (sb superblock) check() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	if sb.Magic != magic {
		return invalid("magic is %#08x, not %#08x (hsqs)", sb.Magic, uint32(magic))
	}
	if sb.Major != majorVersion || sb.Minor != minorVersion {
		return invalid("version is %d.%d; %d.%d can be read", sb.Major, sb.Minor, majorVersion, minorVersion)
	}
	if sb.BlockSize < minBlockSize || sb.BlockSize > maxBlockSize || sb.BlockLog > 20 || sb.BlockSize != 1<<sb.BlockLog {
		return invalid("block size is %d and its logarithm %d; it must be a power of two from %d to %d",
			sb.BlockSize, sb.BlockLog, minBlockSize, maxBlockSize)
	}
	if sb.BytesUsed < superblockSize || sb.BytesUsed > 1<<62 {
		return invalid("its size is %d bytes", sb.BytesUsed)
	}
	for _, table := range []struct {
		name string
		at   uint64
	}{{"inode", sb.InodeTable}, {"directory", sb.DirTable}, {"id", sb.IDTable}} {
		if table.at < superblockSize || table.at >= sb.BytesUsed {
			return invalid("the %s table starts at %d of %d bytes", table.name, table.at, sb.BytesUsed)
		}
	}
	if sb.Inodes > MaxNodes {
		return invalid("it has %d inodes; at most %d can be read", sb.Inodes, MaxNodes)
	}
	return nil
}

// ModTime is the time of the file system.
func (r *Reader) ModTime() time.Time { return time.Unix(int64(r.sb.ModTime), 0).UTC() }

// BlockSize of the data, in bytes.
func (r *Reader) BlockSize() int { return int(r.sb.BlockSize) }

// Compression of the image.
func (r *Reader) Compression() Compression { return compressions[r.sb.Compressor] }

// Size of the image in bytes, without padding.
func (r *Reader) Size() int64 { return int64(r.sb.BytesUsed) }

// Tree returns everything that the image holds. Contents are read from the image when they are opened, and are
// [io.ReaderAt]s; hard links of what is no regular file are files of their own.
func (r *Reader) Tree() (*tree.Tree, error) { return r.tree() }

// Open implements [fs.FS].
func (r *Reader) Open(name string) (fs.File, error) { return with(r, "open", name, (*tree.Tree).Open) }

// Stat implements [fs.StatFS].
func (r *Reader) Stat(name string) (fs.FileInfo, error) {
	return with(r, "stat", name, (*tree.Tree).Stat)
}

// Lstat implements [fs.ReadLinkFS].
func (r *Reader) Lstat(name string) (fs.FileInfo, error) { return r.Stat(name) }

// ReadLink implements [fs.ReadLinkFS].
func (r *Reader) ReadLink(name string) (string, error) {
	return with(r, "readlink", name, (*tree.Tree).ReadLink)
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	return with(r, "readdir", name, (*tree.Tree).ReadDir)
}

// ReadFile implements [fs.ReadFileFS].
func (r *Reader) ReadFile(name string) ([]byte, error) {
	return with(r, "read", name, (*tree.Tree).ReadFile)
}

func with[T any](r *Reader, op, name string, f func(*tree.Tree, string) (T, error)) (T, error) {
	t, err := r.tree()
	if err != nil {
		var none T
		return none, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return f(t, name)
}

// decode reads an on-disk struct.
func decode(p []byte, v any) {
	if _, err := binary.Decode(p, binary.LittleEndian, v); err != nil {
		panic(err) // p has the size of v: a mistake in this package
	}
}
