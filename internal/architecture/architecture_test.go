// Package architecture keeps the code as docs/architecture.md draws it.
package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/talosmith/talosmith/"

// outside are the packages where time, environment, processes and the terminal may enter.
var outside = []string{"magefiles/...", "internal/...", "pkg/source", "pkg/store/oci", "pkg/overlay/confine"}

// forbidden elsewhere, by import path.
var forbidden = map[string][]string{
	"time":    {"Now", "Since", "Until"},
	"os":      {"Getenv", "LookupEnv", "Environ", "Exit"},
	"os/exec": {"Command", "CommandContext"},
	"log":     {"Fatal", "Fatalf", "Fatalln", "Print", "Printf", "Println"},
	"fmt":     {"Print", "Printf", "Println"},
}

// room is a row of the tables in docs/architecture.md, for a package and those below it that have none of their own.
type room struct {
	row    int
	helper bool     // of the second table: for tests, measures and the targets for this repository
	may    []string // what it may import of ours; with a trailing /... everything below
}

var place = regexp.MustCompile("`((?:pkg|internal|magefiles)/[^` ]*)`")

// readRooms reads the tables.
func readRooms(t *testing.T) map[string]room {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## The rooms\n")
	section, _, _ = strings.Cut(section, "\n## ")
	names := func(cell string) (all []string) {
		for _, m := range place.FindAllStringSubmatch(cell, -1) {
			all = append(all, strings.TrimSuffix(m[1], "/"))
		}
		return all
	}
	rooms := map[string]room{}
	var formats []string
	tables := 0
	for i, line := range strings.Split(section, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		if strings.HasPrefix(line, "|---") {
			tables++
		}
		of := names(cells[1])
		if len(of) > 1 {
			formats = of
		}
		may := names(cells[3])
		for j, p := range may {
			if !strings.Contains(p, "/") {
				may[j] = p + "/..."
			}
		}
		if strings.Contains(cells[3], "the formats") {
			may = append(may, "the formats")
		}
		for _, p := range of {
			if _, twice := rooms[p]; twice {
				t.Errorf("docs/architecture.md: %s is there twice", p)
			}
			rooms[p] = room{i, tables > 1, may}
		}
	}
	if len(rooms) == 0 || len(formats) == 0 {
		t.Fatal("docs/architecture.md: no table of rooms")
	}
	for p, r := range rooms {
		if slices.Contains(r.may, "the formats") {
			r.may = slices.Concat(r.may, formats)
			rooms[p] = r
		}
	}
	return rooms
}

func matches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, ok := strings.CutSuffix(p, "/...")
		return p == pkg || ok && (pkg == below || strings.HasPrefix(pkg, below+"/"))
	})
}

// roomOf is that of a package, and the room's name: its own row, or that of what it lies in.
func roomOf(rooms map[string]room, pkg string) (name string, r room, ok bool) {
	for name = pkg; name != "."; name = path.Dir(name) {
		if r, ok = rooms[name]; ok {
			return name, r, true
		}
	}
	return "", room{}, false
}

func TestImportsAndCalls(t *testing.T) {
	rooms := readRooms(t)
	seen := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "out" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		seen[pkg] = true
		own, r, ok := roomOf(rooms, pkg)
		if !ok {
			t.Errorf("%s: package %s has no row in docs/architecture.md", name, pkg)
		}
		if strings.HasSuffix(name, "_test.go") || !ok {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		checkImports(t, rooms, own, r, name, file)
		if !matches(outside, pkg) {
			checkCalls(t, name, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for p, r := range rooms {
		if !seen[p] {
			t.Errorf("docs/architecture.md: there is no package %s", p)
		}
		for _, other := range r.may {
			if to, ok := rooms[other]; ok && to.row <= r.row && !(r.helper && !to.helper) {
				t.Errorf("docs/architecture.md: %s may import %s, which is above it", p, other)
			}
		}
	}
}

func checkImports(t *testing.T, rooms map[string]room, own string, r room, name string, file *ast.File) {
	for _, i := range file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		ours, ok := strings.CutPrefix(p, module)
		if !ok {
			continue
		}
		if to, _, _ := roomOf(rooms, ours); to != own && !matches(r.may, ours) && !slices.Contains(r.may, to) {
			t.Errorf("%s: %s must not import %s: see docs/architecture.md", name, own, ours)
		}
	}
}

func checkCalls(t *testing.T, name string, file *ast.File) {
	local := map[string]string{} // package name in the file, to import path
	for _, i := range file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if _, watched := forbidden[p]; !watched {
			continue
		}
		as := path.Base(p)
		if i.Name != nil {
			as = i.Name.Name
		}
		local[as] = p
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(forbidden[local[x.Name]], s.Sel.Name) {
				t.Errorf("%s: %s.%s: time, environment, processes and the terminal enter at the top only", name, x.Name, s.Sel.Name)
			}
		}
		return true
	})
}
