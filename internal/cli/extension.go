package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/errdoc"
	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
)

// extensionName is what a new extension can be called: a name for its block, its folder and its repository alike.
var extensionName = regexp.MustCompile(`^[a-z0-9]+(?:-[a-z0-9]+)*$`)

// NewExtension writes a first extension into extensions/NAME beside the profile, and says what to do with it.
func NewExtension(o Options, name string) error {
	o = o.withDefaults()
	if !extensionName.MatchString(name) || len(name) > 100 {
		return fmt.Errorf("new extension %q: a name has small letters, digits and \"-\" between them, at most 100", name)
	}
	version := talos.Stable()
	if p, diags := profile.Load(o.Profile, profile.Options{Env: o.Env}); !diags.HasErrors() {
		version = p.Talos.Version
	}
	top := filepath.Dir(o.Profile)
	if st, err := os.Stat(o.Profile); err == nil && st.IsDir() {
		top = o.Profile
	}
	dir := filepath.Join("extensions", name)
	if _, err := os.Lstat(filepath.Join(top, dir)); err == nil {
		return fmt.Errorf("new extension %s: %s is there already: declare it in %s, or choose another name", name, filepath.Join(top, dir), o.Profile)
	}
	manifest, err := extension.WriteManifest(extension.Manifest{Version: extension.ManifestVersion, Metadata: extension.Metadata{
		Name: name, Version: "0.1.0", Description: "What " + name + " is for, in one sentence.",
		Compatibility: extension.Compatibility{Talos: extension.Constraint{Version: fmt.Sprintf(">= v%d.%d.0", version.Major, version.Minor)}},
	}})
	if err != nil {
		return err
	}
	err = writeNew(o, top, []newFile{
		{filepath.Join(dir, "manifest.yaml"), string(manifest)},
		{filepath.Join(dir, "rootfs", "usr", "local", "share", name, "hello.txt"), "Hello from " + name + ".\n"},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Stdout, `
Declare it in %s, and add extension.%s to the extensions of an image:

extension %q {
  path = %q
  tag  = "registry.example.com/talos/%s:0.1.0"
}

Then: %s, %s
`, o.Profile, name, name, filepath.ToSlash(dir), name, o.mage("extension:check", name), o.mage("iso"))
	return nil
}

// newFile is one that must not be there yet.
type newFile struct{ name, content string }

// writeNew writes files below a folder and lists them. None replaces another.
func writeNew(o Options, top string, files []newFile) error {
	for _, f := range files {
		name := filepath.Join(top, f.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		w, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = w.WriteString(f.content)
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
		fmt.Fprintf(o.Stdout, "%s\n", name)
	}
	return nil
}

// CheckExtension looks into an extension: one that the profile declares, a path, or an image in a registry.
func CheckExtension(ctx context.Context, o Options, what, version, arch string) error {
	s, err := loadIfThere(o)
	if err != nil {
		return err
	}
	if _, err := s.connect(); err != nil {
		return err
	}
	t := s.Profile.Talos
	if t.Version == (talos.Version{}) {
		t.Version = talos.Stable()
	}
	if version != "" {
		if t.Version, err = talos.ParseVersion(version); err != nil {
			return err
		}
	}
	all, err := s.checkAll(ctx, t, what, arch)
	s.print.end()
	if err != nil {
		return err
	}
	return s.showChecked(all, what, t.Version)
}

// loadIfThere reads the profile; none where nobody has named one, and there is none.
func loadIfThere(o Options) (*Session, error) {
	named := o.Profile != ""
	o = o.withDefaults()
	if _, err := os.Stat(o.Profile); named || !errors.Is(err, fs.ErrNotExist) {
		return load(o)
	}
	s := &Session{o: o, Profile: &profile.Profile{}}
	s.print = newPrinter(o)
	return s, nil
}

// checkAll checks an extension for an architecture, or for each that there is one for.
func (s *Session) checkAll(ctx context.Context, t profile.Talos, what, arch string) (all []*imager.Checked, err error) {
	archs := talos.Architectures()
	if arch != "" {
		archs = []string{arch}
	}
	var errs []error
	for _, a := range archs {
		f, err := t.Facts("metal", a)
		if err != nil {
			return nil, err
		}
		ref, err := s.locate(what, a)
		if err != nil {
			return nil, err
		}
		c, err := imager.CheckExtension(ctx, s.sources, ref, f)
		if err != nil {
			if len(errs) == 0 || errs[0].Error() != err.Error() {
				errs = append(errs, err)
			}
			continue
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	for _, err := range errs {
		s.print.note(err.Error())
	}
	return all, nil
}

// locate says what somebody means: an extension of the profile, something on the disk, or an image.
func (s *Session) locate(what, arch string) (source.Ref, error) {
	for _, e := range s.Profile.Extensions {
		if e.Name == strings.TrimPrefix(what, "extension.") {
			return imager.Ref(e, arch)
		}
	}
	st, err := os.Stat(what)
	switch {
	case err == nil && !st.IsDir():
		return source.Ref{Tarball: what}, nil
	case err == nil:
		if _, err := os.Stat(filepath.Join(what, "oci-layout")); err == nil {
			return source.Ref{OCILayout: what}, nil
		}
		return source.Ref{Path: what}, nil
	}
	if file, selector := source.SplitSelector(what); selector != "" {
		if _, err := os.Stat(file); err == nil {
			return source.Ref{OCILayout: what}, nil
		}
	}
	if host, _, ok := strings.Cut(what, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") && !strings.HasPrefix(what, ".") {
		return source.Ref{Image: what}, nil
	}
	there := ""
	if names := s.declaredNames(); len(names) > 0 {
		there = " (it has " + few(names) + ")"
	}
	return source.Ref{}, fmt.Errorf("check %q: the profile declares no such extension%s, there is no such path, and it is no image as HOST/REPOSITORY:TAG", what, there)
}

// showChecked prints what was found, once where it is the same for several architectures.
func (s *Session) showChecked(all []*imager.Checked, what string, v talos.Version) error {
	failed := 0
	for i := 0; i < len(all); {
		c := all[i]
		archs := []string{c.Arch}
		for i++; i < len(all) && reflect.DeepEqual(all[i].Manifest, c.Manifest) && reflect.DeepEqual(all[i].Findings, c.Findings); i++ {
			archs = append(archs, all[i].Arch)
		}
		m := c.Manifest.Metadata
		fmt.Fprintf(s.o.Stdout, "%s %s for %s and Talos %s: %s\n", m.Name, m.Version, strings.Join(archs, ", "), v, verdict(c.Findings))
		for _, f := range c.Findings {
			fmt.Fprintf(s.o.Stdout, "  %s %s: %s\n", f.Severity, f.Code, f.Text())
			if f.Severity == extension.Error {
				failed++
			}
		}
	}
	if slices.ContainsFunc(all, func(c *imager.Checked) bool { return len(c.Findings) > 0 }) {
		fmt.Fprintf(s.o.Stdout, "more on each: %s\n", errdoc.Link("CODE"))
	}
	if failed > 0 {
		return fmt.Errorf("check %s: %w", what, ErrShown)
	}
	return nil
}

func verdict(found []extension.Finding) string {
	if len(found) == 0 {
		return "nothing is wrong with it"
	}
	n := map[extension.Severity]int{}
	for _, f := range found {
		n[f.Severity]++
	}
	return count(n[extension.Error], "error") + ", " + count(n[extension.Warning], "warning")
}

// BuildExtension writes the image of an extension of the profile into the output folder.
func BuildExtension(ctx context.Context, o Options, name, arch string) error {
	return withExtension(ctx, o, name, arch, func(s *Session, x *imager.ExtensionImage) error {
		files, err := x.Write(ctx, s.o.Out)
		for _, f := range files {
			fmt.Fprintf(s.o.Stdout, "%s  %s  %s\n", f.Name, amount(f.Size), f.Digest)
		}
		return err
	})
}

// PushExtension uploads the image of an extension of the profile to its tag, and prints how to use it.
func PushExtension(ctx context.Context, o Options, name, arch string) error {
	return withExtension(ctx, o, name, arch, func(s *Session, x *imager.ExtensionImage) error {
		digest, err := x.Push(ctx, s.sources)
		if err == nil {
			fmt.Fprintf(s.o.Stdout, "%s@%s\n  elsewhere:  extension %q { image = \"%s@%s\" }\n", x.Tag, digest, name, x.Tag, digest)
		}
		return err
	})
}

func withExtension(ctx context.Context, o Options, name, arch string, use func(*Session, *imager.ExtensionImage) error) error {
	s, err := load(o)
	if err != nil {
		return err
	}
	if _, err := s.connect(); err != nil {
		return err
	}
	at := time.Unix(0, 0)
	if epoch, err := sourceDateEpoch(s.o.Env); err != nil {
		return err
	} else if epoch != nil {
		at = *epoch
	}
	archs := talos.Architectures()
	if arch != "" {
		if err := talos.CheckArchitecture(arch); err != nil {
			return err
		}
		archs = []string{arch}
	}
	e, err := s.declared(name)
	if err != nil {
		return err
	}
	x, err := imager.PackExtension(ctx, s.Profile, e, imager.PackOptions{Architectures: archs, Epoch: at, Sources: s.sources})
	if err != nil {
		return err
	}
	for _, c := range x.Checked {
		for _, f := range c.Findings {
			s.print.note(fmt.Sprintf("extension %s for %s: %s: %s", name, c.Arch, f.Code, f.Text()))
		}
	}
	err = use(s, x)
	s.print.end()
	return errors.Join(err, x.Close())
}

// declared finds an extension of the profile.
func (s *Session) declared(name string) (*profile.Extension, error) {
	for _, e := range s.Profile.Extensions {
		if e.Name == strings.TrimPrefix(name, "extension.") {
			return e, nil
		}
	}
	names := s.declaredNames()
	near := talos.Nearest(name, names, 1)
	_, err := os.Stat(filepath.Join(s.Profile.Dir, "extensions", name))
	switch {
	case len(near) > 0:
		return nil, fmt.Errorf("extension %q: %s declares none; did you mean %s?", name, s.o.Profile, near[0])
	case err == nil:
		return nil, fmt.Errorf("extension %q: %s does not declare it: add extension %[1]q { path = \"extensions/%[1]s\" }", name, s.o.Profile)
	case len(names) == 0:
		return nil, fmt.Errorf("extension %q: %s declares none at all: %s writes a first one", name, s.o.Profile, s.o.mage("extension:new", name))
	}
	return nil, fmt.Errorf("extension %q: %s declares %s", name, s.o.Profile, few(names))
}

// declaredNames are those of the profile's extensions, in order.
func (s *Session) declaredNames() (names []string) {
	for _, e := range s.Profile.Extensions {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}
