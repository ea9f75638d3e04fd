package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// large is cold with extensions as large as those of many machines: the programs of Go's distribution and this one are another.
func (b *bench) large(ctx context.Context) (table, error) {
	if err := b.writePrograms(ctx, b.path("programs")); err != nil {
		return table{}, err
	}
	file, err := b.variant("large", append([]string{"    extension.motd,", "    extension.motd,\n    extension.programs,",
		`extension "motd" {`, fmt.Sprintf("extension \"programs\" {\n  path = %q\n}\n\nextension \"motd\" {", b.path("programs"))}, withInitramfs...)...)
	if err != nil {
		return table{}, err
	}
	in, err := b.layOut(ctx, file, b.path("in-large"))
	if err != nil {
		return table{}, err
	}
	t, err := b.fromNothing(ctx, in, build{profile: file, out: b.path("large", "out")}, referenceDisk)
	b.warm = false
	return t, errors.Join(err, remove(b.path("large"), b.path("programs"), in.dir))
}

// writePrograms writes an extension of programs that are on every machine that runs this.
func (b *bench) writePrograms(ctx context.Context, dir string) error {
	command := look("go")
	if command == "" {
		return errors.New("the go command is not on PATH: its distribution's programs are to be compressed")
	}
	o, err := process{args: []string{command, "env", "GOROOT", "GOTOOLDIR"}}.run(ctx)
	if err != nil {
		return err
	}
	if err := writeManifest(dir, "programs"); err != nil {
		return err
	}
	to := filepath.Join(dir, "rootfs", "usr", "local", "lib", "programs")
	goroot, tools, _ := strings.Cut(strings.TrimSpace(o.stdout), "\n")
	for name, from := range map[string]string{"bin": filepath.Join(goroot, "bin"), "tool": tools} {
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(from)); err != nil {
			return err
		}
	}
	self, err := os.ReadFile(b.self)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "talosmith"), self, 0o755)
}
