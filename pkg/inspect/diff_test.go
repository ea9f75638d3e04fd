package inspect_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/inspect"
)

func diff(t *testing.T, from, to string) *inspect.Differences {
	t.Helper()
	d, err := inspect.Diff(context.Background(), open(t, from), open(t, to))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func section(d *inspect.Differences, name string) []inspect.Change {
	for _, s := range d.Sections {
		if s.Name == name {
			return s.Changes
		}
	}
	return nil
}

// One extension goes, another one's version and one of its files change; what is the same isn't told.
func TestDiff(t *testing.T) {
	w := newWorld(t)
	d := diff(t, w.uki(""), w.uki("-next"))
	if want := []string{"this removes iscsi-tools", "this changes gvisor (20260101.0 → 20260202.0)"}; !slices.Equal(d.Summary, want) {
		t.Errorf("summary %q", d.Summary)
	}
	var sections []string
	for _, s := range d.Sections {
		sections = append(sections, s.Name)
	}
	if want := []string{"artefact", "extensions", "UKI", "files of initramfs", "files of gvisor", "layers"}; !slices.Equal(sections, want) {
		t.Errorf("sections %q", sections)
	}
	value := func(content string) string {
		return fmt.Sprintf("-rw-r--r-- 0:0 %d bytes, sha256:%x", len(content), sha256.Sum256([]byte(content)))
	}
	files := section(d, "files of gvisor")
	if want := (inspect.Change{Change: "changed", Name: "usr/local/bin/runsc", From: value("runsc"), To: value("runsc, changed")}); len(files) != 1 || files[0] != want {
		t.Errorf("files of gvisor %+v, want %+v", files, want)
	}
	if c := section(d, "layers"); len(c) != 1 || c[0] != (inspect.Change{Change: "removed", Name: "iscsi-tools", From: "2 files, 21 B"}) {
		t.Errorf("layers %+v", c)
	}
	if c := section(d, "files of initramfs"); len(c) != 1 || c[0].Name != "extensions.yaml" {
		t.Errorf("files of the initramfs %+v", c)
	}
	if c := section(d, "UKI"); len(c) != 1 || c[0].Name != ".initrd" {
		t.Errorf("UKI %+v", c)
	}
	var text bytes.Buffer
	if err := d.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(text.String(), "\n"); first != "this removes iscsi-tools" {
		t.Errorf("the text begins with %q", first)
	}
	back := diff(t, w.uki("-next"), w.uki(""))
	if back.Summary[0] != "this adds iscsi-tools" {
		t.Errorf("the other way round: %q", back.Summary)
	}
}

func TestDiffSame(t *testing.T) {
	w := newWorld(t)
	for _, f := range []string{w.uki(""), w.disk(), w.isoGRUB(), w.kernel()} {
		d := diff(t, f, f)
		b, err := json.Marshal(d)
		if err != nil || string(b) != `{"same":true,"summary":[],"sections":[]}` {
			t.Errorf("%s: %s, %v", f, b, err)
		}
	}
}

// The same content in other containers: what boots is the same.
func TestDiffContainers(t *testing.T) {
	w := newWorld(t)
	d := diff(t, w.isoUEFI(), w.disk())
	for _, name := range []string{"extensions", "kernel arguments", "UKI", "files of rootfs", "files of gvisor", "files of initramfs", "files of esp"} {
		if c := section(d, name); len(c) > 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if c := section(d, "layers"); len(c) != 2 || c[0].Name != "iso" || c[1].Name != "boot" {
		t.Errorf("layers %+v", c)
	}
	if len(section(d, "partitions")) == 0 || d.Same {
		t.Error("no difference of partitions")
	}
}

// Nobody knows whether what could not be read is the same.
func TestDiffIncomplete(t *testing.T) {
	w := newWorld(t)
	b := []byte(w.read(w.initramfs("")))
	i := bytes.LastIndex(b, []byte{0x28, 0xb5, 0x2f, 0xfd})
	copy(b[i+200:], make([]byte, 100))
	damaged := open(t, w.write(t.TempDir()+"/damaged", string(b)))
	if len(damaged.Report.Problems) == 0 {
		t.Fatal("no problem")
	}
	if _, err := inspect.Diff(context.Background(), open(t, w.initramfs("")), damaged); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v", err)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	items := func(words string) (list []inspect.Item) {
		for w := range strings.FieldsSeq(words) {
			name, value, _ := strings.Cut(w, "=")
			list = append(list, inspect.Item{Name: name, Value: value})
		}
		return list
	}
	for _, c := range []struct {
		from, to string
		want     []inspect.Change
	}{
		{"a=1 b", "a=1 b", nil},
		{"a=1 b", "b a=1", []inspect.Change{{Change: "moved", Name: "order", From: "a b", To: "b a"}}},
		{"a b c", "a x c", []inspect.Change{{Change: "removed", Name: "b"}, {Change: "added", Name: "x"}}}, // no order: a and c are as before
		{"console=tty0 console=ttyS0", "console=ttyS0 console=tty0", []inspect.Change{{Change: "changed", Name: "console", From: "tty0 ttyS0", To: "ttyS0 tty0"}}},
		{"a=1", "a=1 a=2", []inspect.Change{{Change: "changed", Name: "a", From: "1", To: "1 2"}}},
		{"", "a=1", []inspect.Change{{Change: "added", Name: "a", To: "1"}}},
	} {
		if got := inspect.CompareOrdered("s", items(c.from), items(c.to)); !slices.Equal(got.Changes, c.want) {
			t.Errorf("%q to %q: %+v", c.from, c.to, got.Changes)
		}
	}
}
