package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Unpack writes the size bytes of a disk into a temporary file, raw and with a hole for each page of zeros. The caller removes it.
func Unpack(ctx context.Context, disk io.ReaderAt, size int64) (name string, err error) {
	f, err := os.CreateTemp("", "talosmith-vm-*.raw")
	if err != nil {
		return "", err
	}
	if err := errors.Join(copySparse(ctx, f, disk, size), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("unpack the disk: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func copySparse(ctx context.Context, f *os.File, disk io.ReaderAt, size int64) error {
	var page, zeros [64 << 10]byte
	for at := int64(0); at < size; at += int64(len(page)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := page[:min(size-at, int64(len(page)))]
		if n, err := disk.ReadAt(p, at); n < len(p) {
			return errors.Join(err, fmt.Errorf("it ends at byte %d of %d", at+int64(n), size))
		}
		if bytes.Equal(p, zeros[:len(p)]) {
			continue
		}
		if _, err := f.WriteAt(p, at); err != nil {
			return err
		}
	}
	return f.Truncate(size)
}
