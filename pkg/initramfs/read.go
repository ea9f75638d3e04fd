package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/cavaliergopher/cpio"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Limits on what is read, far above any real initramfs.
const (
	maxMembers  = 1 << 20
	maxUnpacked = 64 << 30 // bytes of all archives of one segment; of all gzip segments while their ends are looked for
)

// Member is one entry of an archive. Path is as [fs.ValidPath] wants it ("." for the root); Content is a regular file's, to be
// read before the next member is asked for.
type Member struct {
	tree.Node
	Size    int64
	Content io.Reader
}

// SkipAll ends [Walk] early and without an error.
var SkipAll = fs.SkipAll

// Walk calls fn for every member of a segment's archives, in order. Contents that fn does not read are skipped.
func Walk(s Segment, fn func(Member) error) error {
	r, err := s.Open()
	if err != nil {
		return fmt.Errorf("read initramfs: %s segment at byte %d: %w", s.Compression, s.Offset, err)
	}
	err = walkArchives(r, fn)
	if errors.Is(err, SkipAll) {
		return r.Close()
	}
	if err != nil {
		err = fmt.Errorf("read initramfs: %s segment at byte %d: %w", s.Compression, s.Offset, err)
	}
	return errors.Join(err, r.Close())
}

func walkArchives(r io.Reader, fn func(Member) error) error {
	in := bufio.NewReaderSize(&limitReader{r: r, left: maxUnpacked}, 128<<10)
	members := 0
	for {
		if done, err := skipPadding(in); done || err != nil {
			return err
		}
		ended := &endNoter{r: in}
		archive := cpio.NewReader(ended)
		for {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) && !ended.hit { // the trailer
				break
			}
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("the archive has no trailer after %d members: %w", members, io.ErrUnexpectedEOF)
			}
			if err != nil {
				return fmt.Errorf("member %d: %w", members, err)
			}
			if members++; members > maxMembers {
				return fmt.Errorf("more than %d members", maxMembers)
			}
			m, err := newMember(h, archive)
			if err != nil {
				return err
			}
			if err := fn(m); err != nil {
				return err
			}
		}
	}
}

// skipPadding skips the zero bytes between archives, and tells whether nothing follows.
func skipPadding(in *bufio.Reader) (done bool, err error) {
	for {
		b, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if b != 0 {
			return false, in.UnreadByte()
		}
	}
}

func newMember(h *cpio.Header, content io.Reader) (Member, error) {
	name := path.Clean(strings.TrimLeft(h.Name, "/"))
	if !fs.ValidPath(name) {
		return Member{}, fmt.Errorf("member %q leaves the root", h.Name)
	}
	if h.Size < 0 { // the header's digits had a sign
		return Member{}, fmt.Errorf("member %q: a size of %d bytes", h.Name, h.Size)
	}
	mode, ok := tree.FileMode(uint16(h.Mode))
	if !ok {
		return Member{}, fmt.Errorf("member %q: mode %#o has no known file type", h.Name, uint32(h.Mode))
	}
	m := Member{Size: h.Size, Node: tree.Node{
		Path: name, UID: uint32(h.Uid), GID: uint32(h.Guid), ModTime: time.Unix(h.ModTime.Unix(), 0), Link: h.Linkname, Mode: mode,
	}}
	if mode.IsRegular() {
		m.Content = content
	}
	return m, nil
}

// endNoter tells the end of the data from the trailer; the archive's reader says io.EOF for both.
type endNoter struct {
	r   io.Reader
	hit bool
}

func (e *endNoter) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.hit = e.hit || errors.Is(err, io.EOF)
	return n, err
}

type limitReader struct {
	r    io.Reader
	left int64
}

func (l *limitReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("more than %d bytes unpacked", int64(maxUnpacked))
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
