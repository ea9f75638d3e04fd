package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// errLimit is wrapped by what is said of an artefact that is over one of the limits.
var errLimit = errors.New("too much")

// limits of what an artefact makes us do.
type limits struct {
	unpacked int64 // bytes that go into a temporary file
	data     int64 // bytes of them that are not zero
	hashed   int64 // bytes in all
	nodes    int   // files of all layers
	paths    int   // bytes of the paths in an initramfs
	segments int   // of an initramfs
	found    int   // files that boot, in all volumes
	damaged  int   // layers: each may cost seconds before it is known to be damaged
}

// defaultLimits are far above what real artefacts need.
var defaultLimits = limits{
	unpacked: 64 << 30, data: 16 << 30, hashed: 64 << 30, nodes: 4 << 20, paths: 64 << 20, segments: 4096, found: 256, damaged: 16,
}

// maxText is the size in bytes up to which a file is read as text.
const maxText = 1 << 20

// spool is a temporary file: what is put there comes one after another. Zeros take no room.
type spool struct {
	f         *os.File
	lim       limits
	end, data int64
}

func (a *Artefact) newSpool() (*spool, error) {
	f, err := a.temp()
	return &spool{f: f, lim: a.lim}, err
}

// page is what holes are made of.
const page = 64 << 10

var zeroPage [page]byte

// add copies a stream behind what is there, and to the hash if there is one.
func (s *spool) add(ctx context.Context, r io.Reader, h hash.Hash) (content, error) {
	start := s.end
	buf := make([]byte, 16*page)
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(r, buf)
		if h != nil {
			h.Write(buf[:n])
		}
		if s.end+int64(n) > s.lim.unpacked {
			return nil, fmt.Errorf("%w: unpacks to more than %d bytes", errLimit, s.lim.unpacked)
		}
		for p := buf[:n]; len(p) > 0; {
			part := p[:min(len(p), page)]
			p = p[len(part):]
			if !bytes.Equal(part, zeroPage[:len(part)]) {
				if s.data += int64(len(part)); s.data > s.lim.data {
					return nil, fmt.Errorf("%w: unpacks to more than %d bytes besides zeros", errLimit, s.lim.data)
				}
				if _, err := s.f.WriteAt(part, s.end); err != nil {
					return nil, err
				}
			}
			s.end += int64(len(part))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n < len(buf) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if err := s.f.Truncate(s.end); err != nil {
		return nil, err
	}
	return section(s.f, start, s.end-start), nil
}

// readerAt makes a blob readable from anywhere; one that is not is copied to a temporary file.
func (a *Artefact) readerAt(ctx context.Context, b tree.Blob) (content, error) {
	if c, ok := b.(content); ok {
		return c, nil
	}
	s, err := a.newSpool()
	if err != nil {
		return nil, err
	}
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	c, err := s.add(ctx, r, nil)
	return c, errors.Join(err, r.Close())
}

// readText reads a small file.
func readText(b tree.Blob) (string, error) {
	text, err := tree.ReadSmall(b, maxText)
	return string(text), err
}

// head returns up to n bytes from the start.
func head(r io.ReaderAt, n int) ([]byte, error) {
	b := make([]byte, n)
	n, err := r.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// digest is a blob's SHA-256 in hexadecimal digits.
func (a *Artefact) digest(ctx context.Context, b tree.Blob) (string, error) {
	r, err := b.Open()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.CopyBuffer(h, io.LimitReader(contextReader{ctx, r}, a.lim.hashed-a.hashed+1), make([]byte, min(b.Size()+1, 1<<20)))
	if a.hashed += n; err == nil && a.hashed > a.lim.hashed {
		err = fmt.Errorf("%w: more than %d bytes of files", errLimit, a.lim.hashed)
	}
	return hexSum(h), errors.Join(err, r.Close())
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// file describes a blob.
func (a *Artefact) file(ctx context.Context, path string, b tree.Blob) (Content, error) {
	sum, err := a.digest(ctx, b)
	return Content{Path: path, Size: b.Size(), SHA256: sum}, err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// printable makes text of others harmless for a terminal: control characters are escaped.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
