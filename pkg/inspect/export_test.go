package inspect

import (
	"context"
	"errors"
	"io"
)

// OpenReader opens what is no file.
func OpenReader(ctx context.Context, r io.ReaderAt, size int64, o Options) (*Artefact, error) {
	a := &Artefact{name: "test", o: o, names: map[string]int{}, Report: newReport()}
	err := a.openFile(ctx, section(r, 0, size), "")
	if err == nil {
		err = a.finish(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

var (
	ParseGRUB  = parseGRUB
	DecodeMeta = decodeMeta
	Printable  = printable
)
