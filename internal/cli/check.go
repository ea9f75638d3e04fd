package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Check looks for everything in the profile's images that would not work, and prints it with what each extension costs. A lock is used but
// not needed.
func (s *Session) Check(ctx context.Context) error {
	return s.check(ctx, imager.Request{Image: s.o.Image})
}

// CheckDirectory is Check for an image with nothing but the extension in a directory.
func (s *Session) CheckDirectory(ctx context.Context, dir, arch string) error {
	arch = cmp.Or(arch, talos.AMD64)
	if err := talos.CheckArchitecture(arch); err != nil {
		return err
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	name := filepath.Base(full)
	p := *s.Profile
	p.Images = []*profile.Image{{
		Name: name, Platform: "metal", Architectures: []string{arch}, Outputs: []profile.Output{{Kind: talos.KindUKI}},
		Extensions: []profile.ExtensionRef{{Name: name, Declared: profile.Directory(name, full)}},
	}}
	s.Profile = &p
	return s.check(ctx, imager.Request{})
}

func (s *Session) check(ctx context.Context, req imager.Request) error {
	var err error
	if req.Lock, err = profile.ReadLock(s.lockPath()); err != nil {
		return err
	}
	req.Runner = s.runner
	res, jobs, diags := imager.Resolve(ctx, s.Profile, req, s.sources)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err := s.show(diags); err != nil {
		return err
	}
	report, err := imager.Check(ctx, imager.Plan(res, s.sources, s.epoch), jobs, s.options())
	s.finish(ctx)
	if ctx.Err() != nil {
		return errInterrupted
	}
	for _, t := range report.Targets {
		if err := costs(s.o.Stdout, t); err != nil {
			return err
		}
	}
	shown := s.show(report.Diags)
	if err == nil {
		fmt.Fprintf(s.o.Stdout, "%s\n", summary(report))
	}
	return errors.Join(err, shown)
}

// report prints what a build's preflight found.
func (s *Session) report(diags hcl.Diagnostics) {
	if err := s.show(diags); err != nil && !errors.Is(err, ErrShown) {
		s.print.note(err.Error())
	}
}

func summary(r *imager.Report) string {
	n := map[hcl.DiagnosticSeverity]int{}
	for _, d := range r.Diags {
		n[d.Severity]++
	}
	looked := "looked at " + count(len(r.Targets), "image")
	if len(r.Diags) == 0 {
		return looked + ": nothing is wrong"
	}
	return fmt.Sprintf("%s: %s, %s", looked, count(n[hcl.DiagError], "error"), count(n[hcl.DiagWarning], "warning"))
}

// costs prints what an image for an architecture takes, and each extension of it.
func costs(out io.Writer, t imager.TargetReport) error {
	if t.Sizes == nil {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tlayer\tfirmware\tmicrocode\tmemory\n", t.Name())
	var sum preflight.Cost
	row := func(name string, c preflight.Cost) {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", name, some(c.Layer), some(c.Firmware), some(c.Microcode), some(c.Memory()))
	}
	for i, c := range t.Sizes.Extensions {
		row(t.Extensions[i].Name, c)
		sum = preflight.Cost{Layer: sum.Layer + c.Layer, Firmware: sum.Firmware + c.Firmware, Unpacked: sum.Unpacked + c.Unpacked, Microcode: sum.Microcode + c.Microcode}
	}
	if n := t.Sizes.ModulesDep; n > 0 {
		row("modules.dep", preflight.Cost{Layer: n})
		sum.Layer += n
	}
	row("all", sum)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "  initramfs %s, UKI %s; a machine needs %s of memory to unpack it\n", amount(t.Sizes.FullInitramfs()), amount(t.Sizes.UKI()), amount(t.Sizes.Memory()))
	for _, f := range t.Fits {
		fmt.Fprintf(out, "  %s, of %s: %s take %s, %d %%\n", f.Label, amount(f.Room), f.What, amount(f.Need), f.Percent())
	}
	fmt.Fprintln(out)
	return nil
}

// some is an amount, or nothing.
func some(n int64) string {
	if n == 0 {
		return ""
	}
	return amount(n)
}
