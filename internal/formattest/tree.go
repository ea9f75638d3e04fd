package formattest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Tree makes a tree of nodes, which have a time where they have none of their own.
func Tree(t testing.TB, when time.Time, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	for i := range nodes {
		if nodes[i].ModTime.IsZero() {
			nodes[i].ModTime = when
		}
	}
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// List writes down a tree but for extended attributes, and for the contents of huge files.
func List(tr *tree.Tree) string {
	var s strings.Builder
	for n := range tr.All() {
		fmt.Fprintf(&s, "%s %v %d:%d %d:%d %s %q", n.Path, n.Mode, n.UID, n.GID, n.Major, n.Minor, n.ModTime.UTC().Format(time.RFC3339Nano), n.Link)
		if n.Mode.IsRegular() && n.Size() < 64<<20 {
			b, err := tree.ReadAll(n.Content)
			fmt.Fprintf(&s, " %d %x %v", len(b), sha256.Sum256(b), err)
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// Compare fails where the lists of two trees differ.
func Compare(t testing.TB, got, want *tree.Tree) {
	t.Helper()
	g, w := strings.Split(List(got), "\n"), strings.Split(List(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Errorf("trees of %d and %d nodes differ at node %d\ngot  %s\nwant %s", len(g), len(w), i, g[min(i, len(g)-1)], w[min(i, len(w)-1)])
			return
		}
	}
}

// RandomNodes are those of a tree with all types of files, with times of some years up to one, and links to targets of a length.
func RandomNodes(rnd *rand.Rand, when time.Time, years int, linkLength func() int) (nodes []tree.Node) {
	dirs := []string{""}
	for range 1 << rnd.IntN(13) {
		n := tree.Node{Path: dirs[rnd.IntN(len(dirs))] + strings.Repeat(string(rune('!'+rnd.IntN(14))), rnd.IntN(100)) + fmt.Sprint(len(nodes)),
			Mode: fs.FileMode(rnd.IntN(0o1000)), UID: rnd.Uint32(), GID: rnd.Uint32(), ModTime: when.AddDate(-rnd.IntN(years), 0, 0)}
		switch rnd.IntN(12) {
		case 0:
			n.Mode |= fs.ModeDir
			dirs = append(dirs, n.Path+"/")
		case 1:
			n.Mode |= fs.ModeSymlink
			n.Link = strings.Repeat("l", linkLength())
		case 2:
			n.Mode |= []fs.FileMode{fs.ModeNamedPipe, fs.ModeSocket, fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice}[rnd.IntN(4)]
		case 3:
			n.Content = tree.Zeros(rnd.Int64N(1 << rnd.IntN(26)))
		default:
			n.Content = tree.String(strings.Repeat("content", rnd.IntN(1<<rnd.IntN(12))))
		}
		if last := len(nodes) - 1; rnd.IntN(20) == 0 && last >= 0 && nodes[last].Content != nil && nodes[last].Link == "" && n.Content != nil && tree.Compare(nodes[last].Path, n.Path) < 0 {
			hard := nodes[last]
			hard.Path, hard.Link = n.Path, hard.Path
			n = hard
		}
		nodes = append(nodes, n)
	}
	return nodes
}
