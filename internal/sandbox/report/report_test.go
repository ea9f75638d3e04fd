package report

import (
	"slices"
	"testing"
)

func TestLines(t *testing.T) {
	for _, l := range []Line{
		New("EXTENSION", "image", "0.sqsh", "name", "gvisor", "version", "20260101.0"),
		New("CMDLINE", "text", `console=ttyS0 a="b c" -x`),
		New("FILE", "path", "a b\n\"c\xff", "size", 12, "link", ""),
		New("LABEL", "value", "system_u:object_r:bin_exec_t:s0", "file", "/é"),
	} {
		got, ok := Parse(l.String())
		if !ok || got.Kind != l.Kind || !slices.Equal(got.Fields, l.Fields) {
			t.Errorf("%s: read as %+v, %v", l, got, ok)
		}
	}
	if s := New("KERNEL", "text", "a b").String(); s != `KERNEL text="a b"` {
		t.Error(s)
	}
	for _, other := range []string{"", "EXTENSION", "[    0.0] Linux version 6.12", "STANDIN READY", `KERNEL text="a`, "KERNEL text", "Loading image=x"} {
		if l, ok := Parse(other); ok {
			t.Errorf("%q read as %+v", other, l)
		}
	}
}

func TestReport(t *testing.T) {
	var r Report
	for _, text := range []string{"BdsDxe: starting", `EXTENSION image=0.sqsh name=crun`, `KERNEL text=x`} {
		if r.Line(text) {
			t.Errorf("%q ended the report", text)
		}
	}
	if e, ok := r.Extension("crun"); !ok || e.Get("image") != "0.sqsh" || r.First("KERNEL", "text") != "x" {
		t.Errorf("%+v", r)
	}
	if len(r.Console) != 3 || r.Console[0] != "BdsDxe: starting" {
		t.Errorf("console %q", r.Console)
	}
	if !r.Line(Ready) || !r.Ready {
		t.Error("not ready")
	}
	if !r.Line(Failed+"no loop device") || r.Failure != "no loop device" {
		t.Errorf("%+v", r)
	}
}
