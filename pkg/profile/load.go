package profile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/internal/atomicfile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// MaxBytes is what a profile has at most, all its files together.
const MaxBytes = 256 << 10

// Limits of what is read.
const (
	maxFiles = 100     // of a directory
	maxText  = 1 << 20 // bytes of a file that file() reads
)

// Options are what a profile can depend on beside its files.
type Options struct {
	// Env looks up environment variables, which override variables of the same name; nil for none.
	Env func(string) (string, bool)
	// Bundled: archives and layouts of extensions need not be there, as a bundle has them.
	Bundled bool
}

// Load reads a profile: a file (.hcl, or .json for HCL's JSON syntax), or a directory, of which all *.hcl and *.hcl.json count as one.
// The profile is never nil; if the diagnostics have errors, only its Files are of use.
func Load(name string, o Options) (*Profile, hcl.Diagnostics) {
	var diags diagnostics
	p := &Profile{Files: map[string]*hcl.File{}, Dir: filepath.Dir(name)}
	names, isDir := diags.find(name)
	if isDir {
		p.Dir = name
	} else {
		p.file = name
	}
	var bodies []*hclsyntax.Body
	total := 0
	for _, name := range names {
		if body := diags.parse(p.Files, name); body != nil {
			bodies = append(bodies, body)
			total += len(p.Files[name].Bytes)
		}
	}
	if total > MaxBytes {
		diags.addAbsent("Too large a profile", "The files of "+name+" are larger than 256 KiB together.")
	}
	if diags.failed() { // what comes after a syntax error is guesswork
		return p, diags.sorted()
	}
	if o.Env == nil {
		o.Env = func(string) (string, bool) { return "", false }
	}
	decode(p, bodies, o, &diags)
	return p, diags.sorted()
}

func (d *diagnostics) failed() bool { return d.all.HasErrors() }

// addAbsent reports something about a file that has no source to show.
func (d *diagnostics) addAbsent(summary, detail string) {
	d.all = append(d.all, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail})
}

// find returns the files of a profile.
func (d *diagnostics) find(name string) (names []string, isDir bool) {
	st, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.addAbsent("No profile", "There is no "+name+". "+insteadOf(name))
		return nil, false
	case err != nil:
		d.addAbsent("Unreadable file", "Can't read "+name+": "+cause(err)+".")
		return nil, false
	case !st.IsDir():
		return []string{name}, false
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		d.addAbsent("Unreadable file", "Can't read the directory "+name+": "+cause(err)+".")
		return nil, true
	}
	for _, e := range entries {
		if isProfile(e.Name()) && !e.IsDir() {
			names = append(names, filepath.Join(name, e.Name()))
		}
	}
	switch {
	case len(names) == 0:
		d.addAbsent("No profile", "The directory "+name+" has no *.hcl or *.hcl.json file.")
	case len(names) > maxFiles:
		d.addAbsent("Too many files", "The directory "+name+" has more than 100 *.hcl files. Is it the right one?")
		names = nil
	}
	return names, true
}

// insteadOf says what a profile that is not there could be: one beside it, else a first one.
func insteadOf(name string) string {
	var beside []string
	entries, _ := os.ReadDir(filepath.Dir(name))
	for _, e := range entries {
		if isProfile(e.Name()) && !e.IsDir() {
			beside = append(beside, filepath.Join(filepath.Dir(name), e.Name()))
		}
	}
	if len(beside) > 0 {
		return didYouMean(name, beside) + " -profile=PATH names a file or a directory."
	}
	return "`go tool mage init` writes a first one; -profile=PATH names another file or a directory."
}

func isProfile(name string) bool {
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".hcl.json"))
}

// parse reads a file and checks its syntax.
func (d *diagnostics) parse(files map[string]*hcl.File, name string) *hclsyntax.Body {
	source, err := readFile(name, MaxBytes)
	if err != nil {
		d.addAbsent("Unreadable file", "Can't read "+name+": "+cause(err)+".")
		return nil
	}
	files[name] = &hcl.File{Bytes: source}
	tokens, _ := hclsyntax.LexConfig(source, name, hcl.InitialPos)
	if at, deep := tooDeep(tokens); deep {
		d.add(at, "Too deep",
			"The expression up to here is nested too deeply, or has too many parts without a comma or a new line between them.")
		return nil
	}
	if filepath.Ext(name) == ".json" {
		return d.parseJSON(files, source, name)
	}
	f, diags := hclsyntax.ParseConfig(source, name, hcl.InitialPos)
	unterminated := slices.IndexFunc(diags, func(diag *hcl.Diagnostic) bool { return diag.Subject.End.Line > diag.Subject.Start.Line })
	if unterminated >= 0 { // a string without its end: what follows is read inside out
		diags = diags[:unterminated+1]
	}
	d.all = append(d.all, diags...)
	files[name].Nav = f.Nav
	return f.Body.(*hclsyntax.Body)
}

// readFile reads a regular file of at most so many bytes.
func readFile(name string, most int64) ([]byte, error) {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case st.IsDir():
		return nil, errors.New("it is a directory")
	case !st.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("it is larger than %d KiB", most>>10)
	}
	return b, err
}

// cause is an error without the operation and the path, which the sentence around it says.
func cause(err error) string { return atomicfile.Cause(err).Error() }

// decode fills a profile.
func decode(p *Profile, bodies []*hclsyntax.Body, o Options, diags *diagnostics) {
	e := &evaluator{diagnostics: diags, env: o.Env, meter: meter{left: budget}, names: map[string]*binding{}, extensions: map[string]*block{}}
	e.functions = e.standardFunctions(p.Dir)
	d := &decoder{evaluator: e, dir: p.Dir, declared: map[string]*Extension{}, mustExist: true, bundled: o.Bundled}

	whole := &hclsyntax.Body{}
	for _, body := range bodies {
		for _, a := range inOrder(body.Attributes) {
			if d.full() {
				break
			}
			d.unknownAttribute(fileSpec, "", a)
		}
		whole.Blocks = append(whole.Blocks, body.Blocks...)
	}
	root := &block{spec: fileSpec, attributes: map[string]*setting{}}
	if len(bodies) > 0 {
		root.at = hcl.Range{Filename: bodies[0].SrcRange.Filename, Start: hcl.InitialPos, End: hcl.InitialPos}
	}
	d.body(root, whole)
	blocks := map[string][]*block{}
	for _, b := range root.blocks {
		blocks[b.spec.name] = append(blocks[b.spec.name], b)
	}

	d.declareAll(blocks)
	d.resolveAll()
	for _, b := range blocks["variable"] {
		d.validate(b)
	}
	d.talos(p, root, blocks["talos"])
	d.registries(p, blocks["registry"])
	for _, b := range blocks["store"] {
		p.Store = new(Store)
		fill(p.Store, d.node(b, nil))
	}
	p.Images = d.images(blocks["image"], &p.Talos)
	for _, b := range blocks["base"] {
		p.Base = d.base(p, b)
	}
	d.sources(p, blocks["extension"])
}

// declareAll makes variables, locals and extensions known.
func (d *decoder) declareAll(blocks map[string][]*block) {
	for _, b := range blocks["variable"] {
		d.declare("variable", b.label, b.at, func() cty.Value { return d.variable(b) })
	}
	for _, b := range blocks["locals"] {
		for name, s := range b.attributes {
			d.declare("local", "local."+name, s.name, func() cty.Value { return d.value(s.expr, nil) })
		}
	}
	for _, b := range blocks["extension"] {
		if first := d.extensions[b.label]; first != nil {
			d.add(b.at, "Duplicate extension", "The extension %q is already declared at %s. Remove one or rename it.", b.label, place(first.at))
			continue
		}
		d.extensions[b.label] = b
		d.declared[b.label] = &Extension{Name: b.label, sources: map[string]*Source{}, Place: Place{Range: b.at}}
	}
}

func (d *decoder) talos(p *Profile, root *block, blocks []*block) {
	if len(blocks) == 0 {
		d.add(root.at, "Missing block", "The profile does not say which Talos to build. Add: talos { version = \"v1.13.9\" }")
		return
	}
	n := d.node(blocks[0], nil)
	fill(&p.Talos, n)
	written, ok := n.values["version"].of.(string)
	if !ok {
		return
	}
	at := p.Talos.At("version")
	v, err := talos.ParseVersion(written)
	if err != nil {
		d.add(at, "Bad Talos version", "%s is not a version. Write it like \"v1.13.9\".", quote(written))
		return
	}
	p.Talos.Version = v
	switch err := v.Known(); {
	case err == nil:
	case errors.Is(err, talos.ErrVersionUnknown) && p.Talos.AllowUnknown:
		d.warn(at, "Unknown Talos version",
			"Talos %s is newer than the newest version known here; it is built by the newest rules, which may not be its own.", v)
	default:
		d.add(at, "Unknown Talos version", "%s.", title(err.Error()))
	}
}

// base evaluates the base for each architecture. Files must be there for those that an image is built for.
func (d *decoder) base(p *Profile, b *block) *Base {
	base := &Base{files: map[string]BaseFiles{}}
	for _, arch := range talos.Architectures() {
		d.mustExist = slices.ContainsFunc(p.Images, func(img *Image) bool { return slices.Contains(img.Architectures, arch) })
		n := d.node(b, map[string]cty.Value{"arch": cty.StringVal(arch)})
		var files BaseFiles
		fill(&files, n)
		base.files[arch] = files
		before := *base
		fill(base, n)
		if arch != talos.Architectures()[0] && (before.Name != base.Name || before.Version != base.Version || before.Registry != base.Registry) {
			d.add(n.at, "Bad base", "Its name, version and registry are the same for all architectures. Leave arch out of them.")
		}
	}
	d.mustExist = true
	return base
}

func (d *decoder) registries(p *Profile, blocks []*block) {
	seen := map[string]hcl.Range{}
	for _, b := range blocks {
		if first, ok := seen[b.label]; ok {
			d.add(b.at, "Duplicate registry", "The registry %q is already described at %s. Merge them.", b.label, place(first))
			continue
		}
		seen[b.label] = b.at
		r := &Registry{Host: b.label}
		fill(r, d.node(b, nil))
		if (r.ClientCert == "") != (r.ClientKey == "") && !d.failed() {
			given, other := "client_cert", "client_key"
			if r.ClientCert == "" {
				given, other = other, given
			}
			d.add(r.At(given), "Missing attribute", "%q needs %q: neither is of use alone.", given, other)
		}
		p.Registries = append(p.Registries, r)
	}
}

// sources evaluates declared extensions for each architecture. Files must be there for those that an image is built for.
func (d *decoder) sources(p *Profile, blocks []*block) {
	used := map[*Extension][]string{}
	for _, img := range p.Images {
		for _, ref := range img.Extensions {
			used[ref.Declared] = append(used[ref.Declared], img.Architectures...)
		}
	}
	tags := map[string]hcl.Range{}
	for _, b := range blocks {
		e := d.declared[b.label]
		if d.extensions[b.label] != b {
			continue // a duplicate
		}
		for _, arch := range talos.Architectures() {
			d.mustExist, d.arch = slices.Contains(used[e], arch), arch
			n := d.node(b, map[string]cty.Value{"arch": cty.StringVal(arch)})
			e.sources[arch] = d.source(n)
			e.Place = placeOf(n)
		}
		d.mustExist, d.arch = true, ""
		d.extensionTag(e, &p.Talos, tags)
		p.Extensions = append(p.Extensions, e)
	}
}

// extensionTag checks the tag of an extension, one image for all architectures.
func (d *decoder) extensionTag(e *Extension, t *Talos, tags map[string]hcl.Range) {
	tag, at := e.For(talos.AMD64).Tag, e.At("tag")
	first, taken := tags[tag]
	switch {
	case tag != e.For(talos.ARM64).Tag:
		d.add(at, "Bad tag", "The tag of the extension %q differs between architectures, but one image has them all. Leave arch out of it.", e.Name)
	case tag == "":
	case !e.For(talos.AMD64).Local():
		d.add(at, "Attribute not allowed", "The extension %q is an image already. A tag is for one that is made of a directory or written here: remove it.", e.Name)
	case taken:
		d.add(at, "Same tag", "The extension at %s has the same tag: one would replace the other. Give each its own.", place(first))
	default:
		tags[tag] = at
		d.ownTag(at, tag, t)
	}
}

// source makes an extension's source of its block.
func (d *decoder) source(n *node) *Source {
	var given, authored []string
	for _, name := range []string{"path", "image", "tarball", "oci_layout"} {
		if _, ok := n.values[name]; ok {
			given = append(given, name)
		}
	}
	for _, name := range []string{"version", "description", "author", "files"} {
		if _, ok := n.values[name]; ok {
			authored = append(authored, name)
		}
	}
	if len(n.blocks) > 0 {
		authored = append(authored, "service")
	}
	_, version := n.values["version"]
	switch {
	case len(given) > 1:
		d.add(n.at, "Several sources", "The extension %q has %s. It comes from one of them: remove the others.", n.label, list(given, "and"))
	case len(given) == 1 && len(authored) > 0:
		d.add(n.at, "Several sources",
			"The extension %q has %s, whose manifest.yaml says everything else. Remove %s, or %[2]s to write the extension here.",
			n.label, list(given, "and"), list(authored, "and"))
	case len(given) == 0 && len(authored) == 0:
		d.add(n.at, "Missing source",
			"The extension %q comes from nowhere. Add path, image, tarball or oci_layout; or version and files, to write it here.", n.label)
	case len(given) == 0 && !version:
		d.add(n.at, "Missing attribute", "The extension %q is written here, so it needs a version: version = \"1.0.0\"", n.label)
	}
	if _, files := n.values["files"]; version && len(given) == 0 && !files && len(n.blocks) == 0 {
		d.add(n.at, "Missing attribute", "The extension %q has nothing in it. Add files or a service block; or path, image, tarball or oci_layout in place of the version.", n.label)
	}
	s := &Source{}
	fill(s, n)
	seen := map[string]hcl.Range{}
	for _, b := range n.blocks {
		if first, ok := seen[b.label]; ok {
			d.add(b.at, "Duplicate service", "The extension has a service %q already, at %s. Rename one.", b.label, place(first))
		}
		seen[b.label] = b.at
		service := Service{Name: b.label}
		fill(&service, b)
		for _, inner := range b.blocks {
			service.Security = &Security{}
			fill(service.Security, inner)
		}
		s.Services = append(s.Services, service)
	}
	return s
}
