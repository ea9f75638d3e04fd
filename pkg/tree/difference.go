package tree

import (
	"bytes"
	"errors"
	"io"
)

// FirstDifference returns where two blobs begin to differ, in bytes from their start.
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
		n, errA := io.ReadFull(ra, bufA)
		m, errB := io.ReadFull(rb, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			i := 0
			for i < min(n, m) && bufA[i] == bufB[i] {
				i++
			}
			return at + int64(i), false, nil
		}
		at += int64(n)
		if ended(errA) || ended(errB) {
			return at, true, nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return at, false, err
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
