package tree

import (
	"bytes"
	"errors"
	"io"
)

// FirstDifference returns where two blobs begin to differ, in bytes from their start. A blob that ends before its size is an error, or
// damage that both share would pass for the same content.
func FirstDifference(a, b Blob) (at int64, same bool, err error) {
	ra, err := a.Open()
	if err != nil {
		return 0, false, err
	}
	defer ra.Close()
	rb, err := b.Open()
	if err != nil {
		return 0, false, err
	}
	defer rb.Close()
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := readNext(ra, bufA, a.Size()-at)
		m, errB := readNext(rb, bufB, b.Size()-at)
		both := min(n, m)
		if !bytes.Equal(bufA[:both], bufB[:both]) {
			i := 0
			for bufA[i] == bufB[i] {
				i++
			}
			return at + int64(i), false, nil
		}
		at += int64(both)
		if err := errors.Join(errA, errB); err != nil {
			return at, false, err
		}
		if n == 0 || n != m {
			return at, n == m, nil
		}
	}
}

// readNext fills the buffer, as far as there are bytes left.
func readNext(r io.Reader, buf []byte, left int64) (int, error) {
	n, err := io.ReadFull(r, buf[:min(int64(len(buf)), left)])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
