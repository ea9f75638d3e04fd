package imager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// readerAt reads until its context is done, which ends those that have no context of their own.
type readerAt struct {
	ctx context.Context
	r   io.ReaderAt
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.ReadAt(p, off)
}

// withPack opens a tree pack for the time of fn.
func withPack(ctx context.Context, b tree.Blob, fn func(*tree.Tree) error) error {
	name, ok := tree.HostPath(b)
	if !ok {
		return errors.New("a tree pack must be a file of the store")
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	t, err := source.OpenPack(readerAt{ctx, f}, b.Size())
	if err == nil {
		err = fn(t)
	} else {
		err = inStore(b, err)
	}
	return errors.Join(err, f.Close())
}

// withSpool gives fn a temporary file, which is gone afterwards.
func withSpool(src *source.Sources, fn func(source.Spool) error) error {
	f, err := src.Temp()
	if err != nil {
		return err
	}
	return errors.Join(fn(f), f.Close())
}

func writeJSON(out store.Output, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = out.WriteAt(b, 0)
	return err
}

func readJSON(b tree.Blob, v any) error {
	raw, err := tree.ReadAll(b)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	return inStore(b, err)
}

// inStore says of what is wrong with a step's output where it is, and what helps.
func inStore(b tree.Blob, err error) error {
	if name, ok := tree.HostPath(b); ok && err != nil {
		return fmt.Errorf("read %s: %w: TALOSMITH_VERIFY=1 mends what the disk has damaged", name, err)
	}
	return err
}

func digests(a *source.Artifact) []string {
	if a.Dir {
		return []string{a.Index}
	}
	var all []string
	for _, l := range a.Layers {
		all = append(all, l.Digest)
	}
	return all
}
