package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/cli"
	"github.com/talosmith/talosmith/pkg/inspect"
)

// artefacts are two command lines: the smallest there are.
func artefacts(t *testing.T) (o cli.InspectOptions, out *bytes.Buffer, from, to string) {
	t.Helper()
	dir := t.TempDir()
	from, to = filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for name, text := range map[string]string{from: "talos.platform=metal console=tty0 quiet", to: "talos.platform=metal console=ttyS0"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out = new(bytes.Buffer)
	env := func(name string) (string, bool) {
		if name != "TALOSMITH_CACHE" {
			return "", false
		}
		return filepath.Join(dir, "cache"), true
	}
	return cli.InspectOptions{Env: env, Stdout: out, Stderr: out}, out, from, to
}

func TestDiffExitCodes(t *testing.T) {
	t.Parallel()
	o, out, from, to := artefacts(t)
	for _, c := range []struct {
		to   string
		code int
	}{{from, 0}, {to, 1}, {filepath.Join(t.TempDir(), "missing"), 2}} {
		err := cli.Diff(context.Background(), from, c.to, o)
		code := 0
		var exit interface{ ExitStatus() int }
		if errors.As(err, &exit) {
			code = exit.ExitStatus()
		}
		if code != c.code || (err == nil) != (code == 0) {
			t.Errorf("%s: exit code %d, %v", c.to, code, err)
		}
	}
	if first, _, _ := strings.Cut(out.String(), "\n"); first != "the same" {
		t.Errorf("output %q", out)
	}
	out.Reset()
	o.JSON = true
	if err := cli.Diff(context.Background(), from, to, o); err == nil {
		t.Error("no error where they differ")
	}
	var d inspect.Differences
	if err := json.Unmarshal(out.Bytes(), &d); err != nil || d.Same || len(d.Sections) != 1 || len(d.Sections[0].Changes) != 2 {
		t.Errorf("%+v, %v of %s", d, err, out)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	o, out, from, _ := artefacts(t)
	if err := cli.Inspect(context.Background(), from, o); err != nil || !strings.HasPrefix(out.String(), "kind          cmdline, 39 B\n") {
		t.Errorf("%v, %q", err, out)
	}
	out.Reset()
	o.JSON, o.Files = true, true
	var report inspect.Report
	if err := cli.Inspect(context.Background(), from, o); err != nil || json.Unmarshal(out.Bytes(), &report) != nil || report.Platform != "metal" {
		t.Errorf("%v, %s", err, out)
	}
	out.Reset()
	o.Extract = filepath.Join(t.TempDir(), "parts")
	if err := cli.Inspect(context.Background(), from, o); err != nil || out.String() != filepath.Join(o.Extract, "cmdline")+"\n" {
		t.Errorf("%v, %s", err, out)
	}
}
