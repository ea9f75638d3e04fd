package fat

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// FuzzReader reads whatever it is given: no panic, no endless loop, and every content that it promises can be read or is an error.
func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for n := range r.All() {
			if !n.Mode.IsRegular() {
				continue
			}
			if c, err := n.Content.Open(); err == nil {
				if n, err := io.Copy(io.Discard, c); err == nil && n > int64(len(b)) {
					t.Errorf("%d bytes of an image of %d", n, len(b))
				}
			}
		}
	})
}

// FuzzNames makes directories of any names: what is accepted comes back, and short names are unique.
func FuzzNames(f *testing.F) {
	f.Fuzz(func(t *testing.T, lines string) {
		var nodes []tree.Node
		seen := map[string]bool{}
		for name := range strings.SplitSeq(lines, "\n") {
			if fs.ValidPath(name) && name != tree.Root && !strings.Contains(name, "/") && !seen[name] {
				seen[name] = true
				nodes = append(nodes, tree.Node{Path: name, Mode: 0o644, ModTime: when, Content: tree.String(name)})
			}
		}
		tr, err := tree.New(nodes)
		if err != nil {
			t.Fatal(err)
		}
		img, err := Plan(tr, Options{Size: 64 * mib})
		if err != nil {
			return
		}
		short := map[shortName]bool{}
		for _, kid := range img.nodes[0].kids {
			if short[kid.name.short] {
				t.Errorf("short name %q twice", kid.name.short)
			}
			short[kid.name.short] = true
		}
		var w formattest.Memory
		if err := img.Write(&w); err != nil {
			t.Fatal(err)
		}
		w.Grow(int(img.g.offset(uint32(rootCluster + img.used))))
		r, err := NewReader(bytes.NewReader(w))
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Tree()
		if err != nil {
			t.Fatal(err)
		}
		compare(t, got, tr)
	})
}

// Random trees: fsck.fat is content, and they come back.
func TestRandomTrees(t *testing.T) {
	t.Parallel()
	tooltest.Need(t, "fsck.fat")
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		contents := map[string]string{}
		dirs := []string{""}
		for range 50 + rnd.IntN(400) {
			name := strings.Repeat(string(rune('a'+rnd.IntN(26))), 1+rnd.IntN(30)) + fmt.Sprintf(".%d", len(contents))
			dir := dirs[rnd.IntN(len(dirs))]
			if rnd.IntN(4) == 0 {
				dirs = append(dirs, dir+name+"/")
			}
			contents[dir+name+map[bool]string{true: "/"}[dirs[len(dirs)-1] == dir+name+"/"]] = strings.Repeat("x", rnd.IntN(1<<rnd.IntN(15)))
		}
		tr := newTree(t, contents)
		name, _ := write(t, tr, Options{Size: int64(40+rnd.IntN(300)) * mib, FileAlign: int64(rnd.IntN(2)) * 2048})
		fsck(t, name)
		got, err := open(t, name).Tree()
		if err != nil {
			t.Fatal(err)
		}
		compare(t, got, tr)
	}
}
