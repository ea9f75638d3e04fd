// Package initramfs reads and composes the kernel's initramfs: cpio archives, plain or compressed, one after another.
//
// Byte map of a file, as Linux's init/initramfs.c unpacks it:
//
//	segment ...          one after another, until the end
//	zero bytes           between segments, skipped
//
// A segment is a plain archive, which starts at a multiple of 4 bytes, or one compressed stream, which starts anywhere and holds
// whole archives: one zstd frame (a window of at most 128 MiB), one xz stream (CRC32 or no check) or one gzip member. An archive
// is a run of members and ends with the member "TRAILER!!!". A member of the "newc" format:
//
//	0    6   magic "070701"
//	6    8   inode: with nlink >= 2 equal numbers are one file
//	14   8   mode, with the type bits
//	22   8   owner's user id
//	30   8   group id
//	38   8   nlink
//	46   8   modification time, seconds of the Unix epoch
//	54   8   size of the content in bytes, so less than 4 GiB
//	62   8   8   device of the file system, major and minor
//	78   8   8   device numbers of a device node
//	94   8   length of the name with its NUL
//	102  8   checksum, 0 here
//	110      name, NUL, zeros to a multiple of 4, content, zeros to a multiple of 4
//
// Numbers are eight hexadecimal digits. The kernel creates no parent directories: a directory must precede what lies in it.
// See https://docs.kernel.org/driver-api/early-userspace/buffer-format.html.
//
// # Not supported
//
// Writing hard links, devices and checksums ("070702"); reading the "odc" and binary cpio formats, lz4, lzo, lzma and bzip2
// streams, zstd dictionaries and skippable frames.
package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Version is part of the store keys of what is made here: raise it when the bytes change.
const Version = "1"

const (
	memberAlign  = 4   // of names, contents and plain archives
	archiveAlign = 512 // of an archive's length, as cpio's blocks
	headerSize   = 110
	trailer      = "TRAILER!!!"
	maxName      = 4095           // the kernel's PATH_MAX less the NUL
	maxSize      = math.MaxUint32 // eight hexadecimal digits
)

// Archive returns a plain cpio archive of everything in the tree but its root, a multiple of 512 bytes long. The contents are
// read when the archive is. Inode numbers count from 1, a directory's nlink is 2, and owners and times are the nodes'.
func Archive(t *tree.Tree) (tree.Blob, error) {
	var parts []tree.Blob
	var size int64
	inode := int64(0)
	for n := range t.All() {
		if n.Path == tree.Root {
			continue
		}
		inode++
		head, content, err := member(n, inode)
		if err != nil {
			return nil, fmt.Errorf("cpio %q: %w", n.Path, err)
		}
		parts = append(parts, tree.Bytes(head), content, tree.Zeros(pad(content.Size(), memberAlign)))
		size += int64(len(head)) + align(content.Size(), memberAlign)
	}
	end := new(bytes.Buffer)
	if err := cpio.NewWriter(end).Close(); err != nil {
		return nil, fmt.Errorf("cpio trailer: %w", err)
	}
	size += int64(end.Len())
	parts = append(parts, tree.Bytes(end.Bytes()), tree.Zeros(pad(size, archiveAlign)))
	return tree.Concat(parts...), nil
}

// member returns a member's header with its padded name, and its content.
func member(n tree.Node, inode int64) ([]byte, tree.Blob, error) {
	h := &cpio.Header{
		Name: n.Path, Inode: inode, Links: 1, ModTime: n.ModTime,
		Mode: cpio.FileMode(tree.UnixMode(n.Mode)), Uid: int(n.UID), Guid: int(n.GID),
	}
	content := tree.Zeros(0)
	switch n.Mode.Type() {
	case 0:
		content = n.Content
	case fs.ModeDir:
		h.Links = 2
	case fs.ModeSymlink:
		content = tree.String(n.Link)
	default:
		return nil, nil, fmt.Errorf("a %v cannot be written: files, directories and symbolic links can", n.Mode.Type())
	}
	h.Size = content.Size()
	switch sec := n.ModTime.Unix(); {
	case h.Size > maxSize:
		return nil, nil, fmt.Errorf("size %d is over the format's limit of %d bytes (4 GiB - 1)", h.Size, int64(maxSize))
	case len(n.Path) > maxName:
		return nil, nil, fmt.Errorf("the path has %d bytes, over the kernel's limit of %d", len(n.Path), maxName)
	case n.Path == trailer:
		return nil, nil, errors.New("this name marks the end of an archive")
	case n.Mode.Type() == fs.ModeSymlink && len(n.Link) > maxName:
		return nil, nil, fmt.Errorf("the link's target has %d bytes, over the kernel's limit of %d", len(n.Link), maxName)
	case sec < 0 || sec > math.MaxUint32:
		return nil, nil, fmt.Errorf("time %v is outside of 1970 to 2106, which the format holds", n.ModTime.UTC())
	}
	// A writer for each member: it numbers inodes itself otherwise, and wants the content copied through.
	var head bytes.Buffer
	if err := cpio.NewWriter(&head).WriteHeader(h); err != nil {
		return nil, nil, err
	}
	return head.Bytes(), content, nil
}

// Join puts segments one after another, with zero bytes before a plain one that would not start at a multiple of 4.
func Join(segments ...tree.Blob) (tree.Blob, error) {
	var parts []tree.Blob
	var size int64
	for i, s := range segments {
		if s.Size() == 0 {
			continue
		}
		c, err := compressionOf(s)
		if err != nil {
			return nil, fmt.Errorf("join segment %d: %w", i, err)
		}
		if c == Plain {
			parts = append(parts, tree.Zeros(pad(size, memberAlign)))
			size = align(size, memberAlign)
		}
		parts = append(parts, s)
		size += s.Size()
	}
	return tree.Concat(parts...), nil
}

func compressionOf(b tree.Blob) (Compression, error) {
	r, err := b.Open()
	if err != nil {
		return "", err
	}
	var magic [6]byte
	n, err := io.ReadFull(r, magic[:])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	c, ok := detect(magic[:n])
	if !ok && err == nil {
		err = fmt.Errorf("starts with % x, which is no cpio archive and no zstd, xz or gzip stream", magic[:n])
	}
	return c, errors.Join(err, r.Close())
}

// CompressZstd writes archives as one zstd frame with a checksum, of which the kernel makes sure. The bytes depend on the
// content, the level and the window (in bytes, a power of two up to 128 MiB) only. It returns the frame's length.
func CompressZstd(w io.WriterAt, archives tree.Blob, level zstd.EncoderLevel, window int) (int64, error) {
	if window > maxWindow {
		return 0, fmt.Errorf("compress initramfs segment: a window of %d bytes; the kernel takes at most %d", window, maxWindow)
	}
	return compress(w, archives, func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(true), zstd.WithWindowSize(window))
	})
}

// CompressXZ writes archives as one xz stream with CRC32, the only check that the kernel knows. It returns the stream's length.
func CompressXZ(w io.WriterAt, archives tree.Blob) (int64, error) {
	return compress(w, archives, func(w io.Writer) (io.WriteCloser, error) {
		return xz.WriterConfig{DictCap: 8 << 20, CheckSum: xz.CRC32}.NewWriter(w)
	})
}

func compress(w io.WriterAt, archives tree.Blob, newEncoder func(io.Writer) (io.WriteCloser, error)) (int64, error) {
	count := &countingWriter{w: io.NewOffsetWriter(w, 0)}
	enc, err := newEncoder(count)
	if err != nil {
		return 0, fmt.Errorf("compress initramfs segment: %w", err)
	}
	err = errors.Join(tree.Copy(enc, archives), enc.Close())
	return count.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func align(n, to int64) int64 { return (n + to - 1) / to * to }
func pad(n, to int64) int64   { return align(n, to) - n }
