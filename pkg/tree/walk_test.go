package tree_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/tree"
)

// volume is a file system of directories' entries by inode number; an inode without entries is a file.
type volume struct {
	dirs map[int][]entry
	read []int
}

type entry struct {
	name string
	to   int
}

func (v *volume) Node(f int) (tree.Node, error) {
	v.read = append(v.read, f)
	if _, ok := v.dirs[f]; ok {
		return dir(""), nil
	}
	if f < 0 {
		return tree.Node{}, fs.ErrNotExist
	}
	return file("", fmt.Sprint(f)), nil
}

func (v *volume) Entries(dir int, found func(string, int) error) error {
	for _, e := range v.dirs[dir] {
		if err := found(e.name, e.to); err != nil {
			return err
		}
	}
	return nil
}

func TestWalk(t *testing.T) {
	v := &volume{dirs: map[int][]entry{
		0: {{"z", 5}, {"b", 1}, {"x", 6}},
		1: {{"d", 2}, {"y", 5}, {"a", 7}},
		2: {{"c", 5}},
	}}
	got, err := tree.Walk(v, 0)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for n := range got.All() {
		content := ""
		if n.Content != nil {
			b, _ := tree.ReadAll(n.Content)
			content = string(b)
		}
		fmt.Fprintf(&s, "%s %s %s\n", n.Path, content, n.Link)
	}
	want := ".  \nb  \nb/a 7 \nb/d  \nb/d/c 5 \nb/y 5 b/d/c\nx 6 \nz 5 b/d/c\n"
	if s.String() != want {
		t.Errorf("got\n%swant\n%s", s.String(), want)
	}
	if slices.Sort(v.read); !slices.Equal(v.read, []int{0, 1, 2, 5, 6, 7}) {
		t.Errorf("read %v: each file once", v.read)
	}
}

func TestWalkRefuses(t *testing.T) {
	deep := map[int][]entry{}
	for i := range 2000 {
		deep[i] = []entry{{strings.Repeat("n", 250), i + 1}}
	}
	many := make([]entry, 1<<20)
	for i := range many {
		many[i] = entry{fmt.Sprint(i), 1}
	}
	for want, dirs := range map[string]map[int][]entry{
		"root directory: is none":                            {},
		`directory .: name "": not possible`:                 {0: {{"", 1}}},
		`directory .: name "..": not possible`:               {0: {{"..", 1}}},
		`directory .: name ".": not possible`:                {0: {{".", 1}}},
		`directory .: name "a/b": not possible`:              {0: {{"a/b", 1}}},
		`directory .: name "a\x00": not possible`:            {0: {{"a\x00", 1}}},
		`directory .: "a": file does not exist`:              {0: {{"a", -1}}},
		`directory .: "a": this directory is also elsewhere`: {0: {{"a", 0}}},
		`directory b: "c": this directory is also elsewhere`: {0: {{"a", 1}, {"b", 2}}, 1: {}, 2: {{"c", 1}}},
		`path "a" is there twice`:                            {0: {{"a", 1}, {"a", 2}}},
		"more than 1048576 files":                            {0: many},
		"or 67108864 bytes of paths":                         deep,
	} {
		if _, err := tree.Walk(&volume{dirs: dirs}, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if _, err := tree.Walk(&volume{}, -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a root: %v", err)
	}
}
