package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/tree"
)

// images that are compared. The one that is thrifty is what builds make by default.
var images = []squashfs.Options{
	{BlockSize: 128 << 10}, {BlockSize: 256 << 10}, {BlockSize: 512 << 10}, {BlockSize: squashfs.DefaultBlockSize, Thrifty: true}, {BlockSize: 1 << 20},
}

// squashfsJob writes an image of a folder.
type squashfsJob struct {
	From, To string
	Options  squashfs.Options
}

func (j squashfsJob) run() error {
	t, err := source.FromDirectory(j.From)
	if err != nil {
		return err
	}
	f, err := os.Create(j.To)
	if err != nil {
		return err
	}
	_, err = squashfs.Write(f, t, j.Options)
	return errors.Join(err, f.Close())
}

// readJob reads pages of an image at random, as programs do after boot.
type readJob struct {
	Image string
	Reads int
}

// readResult is what a read took on average.
type readResult struct {
	CPU          float64 // seconds
	Decompressed float64 // bytes
}

const page = 4 << 10

func (j readJob) run() error {
	f, err := os.Open(j.Image)
	if err != nil {
		return err
	}
	r, err := squashfs.NewReader(f)
	if err != nil {
		return err
	}
	t, err := r.Tree()
	if err != nil {
		return err
	}
	var files []tree.Node
	var total int64
	for n := range t.All() {
		if n.Mode.IsRegular() && !n.IsHardLink() && n.Size() > 0 {
			files = append(files, n)
			total += n.Size()
		}
	}
	if total == 0 {
		return fmt.Errorf("%s has no files", j.Image)
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same places in every image
	var result readResult
	buf, block := make([]byte, page), int64(r.BlockSize())
	before := ownTime()
	for range j.Reads {
		n, at := pick(files, random.Int64N(total))
		at -= at % page
		if _, err := n.Content.(io.ReaderAt).ReadAt(buf[:min(page, n.Size()-at)], at); err != nil {
			return err
		}
		result.Decompressed += float64(decompressed(n.Size(), at, block)) / float64(j.Reads)
	}
	result.CPU = (ownTime() - before) / float64(j.Reads)
	return errors.Join(json.NewEncoder(os.Stdout).Encode(result), f.Close())
}

func (r readResult) String() string {
	return fmt.Sprintf("a random read of 4 KiB decompresses %s in %.2f ms of CPU time", size(r.Decompressed), r.CPU*1000)
}

// pick returns the file that has a byte of all files' contents, and the byte's place in it.
func pick(files []tree.Node, at int64) (tree.Node, int64) {
	i := 0
	for ; at >= files[i].Size(); i++ {
		at -= files[i].Size()
	}
	return files[i], at
}

// decompressed is how many bytes come out of the block that has a place of a file. What is smaller than a block shares one.
func decompressed(size, at, block int64) int64 {
	if size < block {
		return block
	}
	return min(block, size-at/block*block)
}

// squashfs compares images of the largest extension.
func (b *bench) squashfs(ctx context.Context) (table, error) {
	in, err := b.lay(ctx)
	if err != nil {
		return table{}, err
	}
	big := in.largest()
	from := ext(in.dir, big)
	t := table{title: fmt.Sprintf("squashfs of %s's files, %s", in.Names[big], size(float64(in.Sizes[big])))}
	theirs := b.path("reference.sqsh")
	reference, err := process{args: append([]string{look("mksquashfs"), from, theirs}, strings.Fields(mksquashfsOptions)...)}.run(ctx)
	if err != nil {
		return t, err
	}
	referenceSize, err := fileSize(theirs)
	if err != nil {
		return t, err
	}
	referenceRead, err := b.randomReads(ctx, theirs)
	if err != nil {
		return t, err
	}
	for _, o := range images {
		image := b.path("ours.sqsh")
		c, err := b.do(ctx, job{Squashfs: &squashfsJob{From: from, To: image, Options: o}}, nil)
		if err != nil {
			return t, err
		}
		bytes, err := fileSize(image)
		if err != nil {
			return t, err
		}
		read, err := b.randomReads(ctx, image)
		if err != nil {
			return t, err
		}
		thrifty := ""
		if o.Thrifty {
			thrifty = ", thrifty"
		}
		t.note("Ours, blocks of %d KiB%s: CPU time %.3f of it, size %.3f; %s", o.BlockSize>>10, thrifty, c.cpu/reference.cpu, bytes/referenceSize, read)
		if o.Thrifty {
			t.add("CPU time", seconds, c.cpu, reference.cpu, ratioAtMost(0.4))
			t.add("wall time", seconds, c.wall, reference.wall, none)
			t.add("size", size, bytes, referenceSize, ratioAtMost(1.08))
			t.add("peak memory", size, float64(c.peak), float64(reference.peak), atMost(400<<20))
		}
	}
	t.note("Reference, blocks of 128 KiB: %s", referenceRead)
	t.note("Reference: mksquashfs %s. Our reader reads both.", mksquashfsOptions)
	return t, nil
}

func (b *bench) randomReads(ctx context.Context, image string) (r readResult, err error) {
	_, err = b.do(ctx, job{Read: &readJob{Image: image, Reads: 2000}}, &r)
	return r, err
}
