package imager

import (
	"io"

	"github.com/talosmith/talosmith/pkg/tree"
)

// watched is a tree that tells how many bytes of its files have been read by one goroutine, of how many. What is read again doesn't count.
func watched(t *tree.Tree, report func(done, total int64)) (*tree.Tree, error) {
	w := &watch{total: contentSize(t), report: report}
	var nodes []tree.Node
	for n := range t.All() {
		if n.Content != nil && !n.IsHardLink() {
			n.Content = &watchedBlob{Blob: n.Content, watch: w}
		}
		nodes = append(nodes, n)
	}
	return tree.New(nodes)
}

type watch struct {
	done, total int64
	report      func(done, total int64)
}

type watchedBlob struct {
	tree.Blob
	*watch
	seen int64 // bytes that have been counted
}

func (b *watchedBlob) Open() (io.ReadCloser, error) {
	r, err := b.Blob.Open()
	if err != nil {
		return nil, err
	}
	return &watchedReader{ReadCloser: r, blob: b}, nil
}

type watchedReader struct {
	io.ReadCloser
	blob *watchedBlob
	at   int64
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.at += int64(n); r.at > r.blob.seen {
		r.blob.done += r.at - r.blob.seen
		r.blob.seen = r.at
		r.blob.report(r.blob.done, r.blob.total)
	}
	return n, err
}
