package kmod

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/pkg/tree"
)

// loopTree has modules b, c and d that need each other, a that needs one of them and e that one of them needs.
func loopTree(t testing.TB) *tree.Tree {
	return testTree(t, map[string][]byte{
		"a.ko": testModule{imports: names("d")}.build(),
		"b.ko": testModule{imports: names("c"), exports: names("b")}.build(),
		"c.ko": testModule{imports: names("d", "e"), exports: names("c")}.build(),
		"d.ko": testModule{imports: names("b"), exports: names("d")}.build(),
		"e.ko": testModule{exports: names("e")}.build(),
	})
}

// testdata/complete is what depmod of kmod 34.2 made; see its README.
func TestIndexGolden(t *testing.T) {
	t.Parallel()
	c := completeCase(t)
	compare(t, makeIndex(t, testTree(t, c.files), c.search), modulesFiles(t, os.DirFS("testdata/complete")))
}

// Base and extension are scanned apart, the base's scan comes from a store, and a module of the extension replaces one of the base.
func TestIndexMerged(t *testing.T) {
	t.Parallel()
	base := completeCase(t).files
	extension := map[string][]byte{
		"extras/new.ko":  testModule{imports: names("fresh")}.build(),
		"kernel/zeta.ko": testModule{exports: names("fresh"), modinfo: []string{"alias=replaced-zeta"}}.build(),
	}
	union := maps.Clone(base)
	maps.Copy(union, extension)

	scan := func(files map[string][]byte) (m []Module) {
		modules, err := Scan(testTree(t, files), 0)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := json.Marshal(modules)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(stored, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	index, err := Index(testTree(t, union), Merge(scan(base), scan(extension)), Options{Search: talosSearch})
	if err != nil {
		t.Fatal(err)
	}
	got := modulesFiles(t, index)
	compare(t, got, makeIndex(t, testTree(t, union), talosSearch))
	if !bytes.Contains(got["modules.dep"], []byte("extras/new.ko: kernel/zeta.ko\n")) ||
		!bytes.Contains(got["modules.alias"], []byte("alias replaced-zeta zeta\n")) {
		t.Error("the extension's module did not replace the base's")
	}
}

func TestIndexNodes(t *testing.T) {
	t.Parallel()
	at := time.Unix(1700000000, 0)
	own := tree.Node{Path: "modules.builtin", Mode: 0o600, UID: 7, ModTime: time.Unix(5, 0), Content: tree.String("kernel/a.ko\n")}
	dir, err := tree.New([]tree.Node{
		own, {Path: "modules.dep", Mode: 0o600, Content: tree.String("old")}, {Path: "modules.d/x", Mode: 0o600, Content: tree.String("")},
		{Path: "kernel/a.txt", Mode: 0o600, Content: tree.String("")}, {Path: "modules.link", Mode: fs.ModeSymlink | 0o777, Link: "modules.dep"},
		{Path: "modules.twice", Mode: 0o600, Link: "kernel/a.txt", Content: tree.String("")},
	})
	if err != nil {
		t.Fatal(err)
	}
	index, err := Index(dir, nil, Options{ModTime: at})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for n := range index.All() {
		got = append(got, n.Path)
		switch n.Path {
		case "modules.builtin":
			if diff := cmp.Diff(own, n); diff != "" {
				t.Error(diff)
			}
		case "modules.dep":
			if n.Mode != 0o644 || !n.ModTime.Equal(at) || n.UID != 0 || n.Size() != 0 {
				t.Errorf("modules.dep is %+v", n)
			}
		}
	}
	want := strings.Fields(`. modules.alias modules.alias.bin modules.builtin modules.builtin.alias.bin modules.builtin.bin modules.dep
		modules.dep.bin modules.devname modules.softdep modules.symbols modules.symbols.bin modules.twice modules.weakdep`)
	if !slices.Equal(got, want) {
		t.Errorf("nodes %q, want %q", got, want)
	}
}

func TestIndexRefuses(t *testing.T) {
	t.Parallel()
	one := testTree(t, map[string][]byte{"a.ko": testModule{}.build()})
	modules, err := Scan(one, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := []Module{modules[0], {Path: "b.ko", Name: "b"}}
	with := func(name, content string) *tree.Tree {
		return testTree(t, map[string][]byte{"a.ko": testModule{}.build(), name: []byte(content)})
	}
	big, err := tree.New([]tree.Node{{Path: "modules.order", Mode: 0o644, Content: tree.Zeros(maxText + 1)}})
	if err != nil {
		t.Fatal(err)
	}
	long := []Module{{Path: "a.ko", Name: "a", Aliases: []string{strings.Repeat("a", maxKey+1)}}}
	loop := loopTree(t)
	loopModules, err := Scan(loop, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir     *tree.Tree
		modules []Module
		search  []string
		want    string
	}{
		"not scanned":   {one, nil, nil, "index module a.ko: it was not scanned"},
		"not there":     {one, other, nil, "index module b.ko: it was scanned but is not in the release directory"},
		"twice":         {one, []Module{modules[0], modules[0]}, nil, "the scan has a path twice"},
		"loop":          {loop, loopModules, nil, "index modules: they need each other in a loop: c -> d -> b -> c"},
		"search":        {one, modules, []string{"extras", "/lib"}, `index modules: search "/lib": only "built-in" and directories below`},
		"external":      {one, modules, []string{"external"}, `index modules: search "external": only`},
		"order":         {with("modules.order", "a.ko\nb"), modules, nil, "read modules.order: its last line has no end"},
		"big order":     {big, nil, nil, "read modules.order: 268435456 bytes, the limit is 268435455"},
		"builtin":       {with("modules.builtin", "kernel/a.ko\n\n"), modules, nil, `read modules.builtin line 2: "" is not the path of a module`},
		"builtin bytes": {with("modules.builtin", "kernel/ü.ko\n"), modules, nil, "make modules.builtin.bin: index"},
		"modinfo":       {with("modules.builtin.modinfo", "a.alias=b"), modules, nil, "its last string has no end"},
		"modinfo key":   {with("modules.builtin.modinfo", "a.alias\x00"), modules, nil, `"a.alias" is not module.key=value`},
		"modinfo alias": {with("modules.builtin.modinfo", "a.alias=\xff\x00"), modules, nil, "make modules.builtin.alias.bin: index"},
		"long alias":    {one, long, nil, "make modules.alias.bin: index"},
	} {
		_, err := Index(c.dir, c.modules, Options{Search: c.search})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func TestBuiltins(t *testing.T) {
	t.Parallel()
	got, err := Builtins(testTree(t, map[string][]byte{"modules.builtin": []byte("kernel/fs/ext-4.ko\nkernel/x.ko")}))
	if err != nil || !slices.Equal(got, []string{"ext_4", "x"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := Builtins(testTree(t, nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one for a missing file", err)
	}
}

// The numbers are those of depmod.d(5): directories listed first go first, "built-in" stands for the rest.
func TestSearch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		search, have, found string
		keeps               bool
	}{
		{"", "kernel/a", "updates/a", false},
		{"", "updates/a", "kernel/a", true},
		{"", "kernel/a", "extras/a", true},
		{"extras built-in", "kernel/a", "extras/a", false},
		{"extras built-in", "extras/a", "kernel/a", true},
		{"extras built-in", "kernel/a", "other/a", true},
		{"extras built-in", "kernel/a", "extrasandmore/a", true},
		{"extras built-in", "extras/x/a", "extras/y/a", false}, // depmod's own oddity
		{"built-in extras", "kernel/a", "extras/a", true},
		{"built-in extras", "extras/x/a", "extras/y/a", true},
		{"a/b a built-in", "a/x", "a/b/x", false},
		{"a/b a built-in", "a/b/x", "a/x", true},
	} {
		s, err := newSearch(strings.Fields(c.search))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.keeps(c.have, c.found); got != c.keeps {
			t.Errorf("search %q: %s stays before %s: %t, want %t", c.search, c.have, c.found, got, c.keeps)
		}
	}
}
