package inspect

import (
	"context"
	"io"
)

// OpenReader opens what is no file. It unpacks no more than 64 MiB.
func OpenReader(ctx context.Context, r io.ReaderAt, size int64, o Options) (*Artefact, error) {
	a := newArtefact("test", o)
	a.lim.unpacked, a.lim.hashed = 64<<20, 256<<20
	return a.open(ctx, func(a *Artefact) error { return a.openFile(ctx, section(r, 0, size), "") })
}

// Limits are those that tests lower.
type Limits struct {
	Unpacked, Data, Hashed                 *int64
	Nodes, Paths, Segments, Found, Damaged *int
}

// OpenLimited opens a file with other limits.
func OpenLimited(ctx context.Context, name string, o Options, lower func(l Limits)) (*Artefact, error) {
	a := newArtefact("test", o)
	lower(Limits{&a.lim.unpacked, &a.lim.data, &a.lim.hashed, &a.lim.nodes, &a.lim.paths, &a.lim.segments, &a.lim.found, &a.lim.damaged})
	return a.open(ctx, func(a *Artefact) error { return a.openRef(ctx, name) })
}

// XZBlocks reads an .xz file by its blocks.
func XZBlocks(ctx context.Context, r io.ReaderAt, size int64) (io.ReaderAt, int64, error) {
	x, err := newXZBlocks(ctx, section(r, 0, size), defaultLimits)
	if err != nil {
		return nil, 0, err
	}
	return x, x.size, nil
}

// ErrNoBlocks says that an .xz file is read from its start.
var ErrNoBlocks = errNoBlocks

// Exported for tests.
var (
	ParseGRUB  = parseGRUB
	DecodeMeta = decodeMeta
)
