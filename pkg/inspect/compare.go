package inspect

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/extension"
)

// Diff compares two artefacts, down to the files of their layers. Layers whose images are the same are not looked into. It fails
// where one of the two could not be read in full: then nobody knows. Times of files are not compared, nor is what lies between partitions.
func Diff(ctx context.Context, from, to *Artefact) (*Differences, error) {
	for _, a := range []*Artefact{from, to} {
		if len(a.Report.Problems) > 0 {
			return nil, fmt.Errorf("compare: %s: %s", a.name, strings.Join(a.Report.Problems, "; "))
		}
	}
	d := NewDifferences()
	x, y := &from.Report, &to.Report
	d.Add(Compare("artefact", x.items(), y.items()))
	d.Add(CompareOrdered("extensions", x.extensionItems(), y.extensionItems()))
	d.Add(CompareOrdered("kernel arguments", Arguments(x.Cmdline), Arguments(y.Cmdline)))
	d.Add(CompareOrdered("boot menu", x.menuItems(), y.menuItems()))
	d.Add(Compare("boot loaders", x.loaderItems(), y.loaderItems()))
	d.Add(CompareOrdered("UKI", x.ukiItems(), y.ukiItems()))
	d.Add(CompareOrdered("partitions", x.partitionItems(), y.partitionItems()))
	d.Add(Compare("META", x.metaItems(), y.metaItems()))
	d.Add(Compare("SecureBoot keys", x.keyItems(), y.keyItems()))
	if err := d.addFiles(ctx, from, to); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	d.summarize(x, y)
	return d, nil
}

// summarize says what counts in sentences.
func (d *Differences) summarize(x, y *Report) {
	inside := map[string]bool{}
	for _, s := range d.Sections {
		inside[s.Name] = true
	}
	for _, s := range d.Sections {
		if s.Name != "extensions" {
			continue
		}
		changed := map[string][]string{}
		for _, c := range s.Changes {
			if c.Name == strings.TrimSuffix(extension.ModulesDepImage, ".sqsh") {
				continue // made of the others
			}
			name := c.Name
			if c.Change == Changed {
				name = fmt.Sprintf("%s (%s → %s)", c.Name, version(c.From), version(c.To))
				if version(c.From) == version(c.To) && inside[filesOf+c.Name] {
					name = c.Name + " (the same version, other files)"
				} else if version(c.From) == version(c.To) {
					name = c.Name + " (the same files, packed in another way)"
				}
			}
			changed[c.Change] = append(changed[c.Change], name)
		}
		for _, verb := range []struct{ change, says string }{{Removed, "removes"}, {Added, "adds"}, {Changed, "changes"}} {
			if names := changed[verb.change]; len(names) > 0 {
				d.Summary = append(d.Summary, fmt.Sprintf("this %s %s", verb.says, strings.Join(names, ", ")))
			}
		}
		if len(changed[Moved]) > 0 {
			d.Summary = append(d.Summary, "this changes the order of extensions")
		}
	}
	for _, f := range []struct{ name, from, to string }{{"Talos", x.Talos, y.Talos}, {"the kernel", x.Kernel, y.Kernel}} {
		if f.from != f.to {
			d.Summary = append(d.Summary, fmt.Sprintf("this changes %s: %s → %s", f.name, orUnknown(f.from), orUnknown(f.to)))
		}
	}
	for _, s := range d.Sections {
		if s.Name == "kernel arguments" {
			d.Summary = append(d.Summary, fmt.Sprintf("this changes kernel arguments: %s", strings.Join(s.names(), ", ")))
		}
	}
	if len(d.Summary) == 0 && !d.Same {
		var names []string
		for _, s := range d.Sections {
			names = append(names, s.Name)
		}
		d.Summary = append(d.Summary, "this changes "+strings.Join(names, ", "))
	}
}

func (s DiffSection) names() (names []string) {
	for _, c := range s.Changes {
		names = append(names, c.Name)
	}
	return names
}

// version is what an extension's value begins with.
func version(value string) string {
	v, _, _ := strings.Cut(value, ",")
	return v
}

func orUnknown(s string) string { return cmp.Or(s, "unknown") }

// items are what an artefact is as a whole.
func (r *Report) items() []Item {
	list := []Item{
		{"kind", r.Kind}, {"packed", strings.Join(r.Packed, " ")}, {"architecture", r.Architecture}, {"platform", r.Platform},
		{"Talos", r.Talos}, {"kernel", r.Kernel},
	}
	if v := r.Volume; v != nil {
		list = append(list, Item{"volume", v.ID}, Item{"volume set", v.SetID}, Item{"created", v.Created})
	}
	if d := r.Disk; d != nil {
		list = append(list, Item{"disk", fmt.Sprintf("%d bytes, sectors of %d, %s", d.Size, d.SectorSize, d.GUID)}, Item{"boot code", hashText(d.BootCode)})
	}
	if i := r.Initramfs; i != nil {
		list = append(list, Item{"initramfs", hashText(i.SHA256)})
	}
	if k := r.KernelFile; k != nil {
		list = append(list, Item{"kernel file", hashText(k.SHA256)})
	}
	if s := r.Schematic; s != nil {
		list = append(list, Item{"schematic", s.ID})
	}
	if c := r.Configuration; c != nil {
		list = append(list, Item{"configuration", "sha256:" + c.SHA256})
	}
	for _, m := range r.Modules {
		list = append(list, Item{"modules of " + m.Release, fmt.Sprint(m.Count)})
	}
	if i := r.Image; i != nil {
		for _, key := range slices.Sorted(maps.Keys(i.Labels)) {
			list = append(list, Item{"label " + key, i.Labels[key]})
		}
		for n, l := range i.Layers {
			list = append(list, Item{fmt.Sprintf("image layer %d", n+1), l.Digest})
		}
	}
	return slices.DeleteFunc(list, func(i Item) bool { return i.Value == "" })
}

func (r *Report) extensionItems() (list []Item) {
	for _, e := range r.Extensions {
		value := e.Version
		if e.SHA256 != "" {
			value += fmt.Sprintf(", %s, sha256:%s", Bytes(e.Size), e.SHA256)
		}
		list = append(list, Item{e.Name, value})
	}
	return list
}

// Arguments are those of a command line, by key; one without a value has none.
func Arguments(cmdline string) (list []Item) {
	for word := range strings.FieldsSeq(cmdline) {
		key, value, _ := strings.Cut(word, "=")
		list = append(list, Item{key, value})
	}
	return list
}

// menuItems are a boot menu's entries: of their command lines what differs from the main one, which is compared by itself.
func (r *Report) menuItems() (list []Item) {
	for _, e := range r.Entries {
		value := e.added(r.Cmdline)
		if e.Default {
			value = strings.TrimSpace("default " + value)
		}
		list = append(list, Item{e.Loader + " " + cmp.Or(e.Title, e.ID, "(no name)"), value})
	}
	return list
}

func (r *Report) loaderItems() (list []Item) {
	for _, l := range r.Loaders {
		value := strings.TrimSpace(l.Version + " " + hashText(l.SHA256))
		if l.Signed {
			value += ", signed"
		}
		list = append(list, Item{l.Name + " for " + strings.ToUpper(l.Firmware), value})
	}
	return list
}

func hashText(sum string) string {
	if sum == "" {
		return ""
	}
	return "sha256:" + sum
}

func (r *Report) ukiItems() (list []Item) {
	for _, u := range r.UKIs {
		list = append(list, Item{"signed", fmt.Sprint(u.Signed)})
		for _, s := range u.Sections {
			name := s.Name
			if s.Profile != "" {
				name += " of " + s.Profile
			}
			list = append(list, Item{name, fmt.Sprintf("%d bytes, sha256:%s", s.Size, s.SHA256)})
		}
	}
	return list
}

func (r *Report) partitionItems() (list []Item) {
	for _, p := range r.Partitions {
		value := fmt.Sprintf("%s at %d, %d bytes, %s", typeName(p.Type), p.Offset, p.Size, cmp.Or(p.FileSystem, "no file system"))
		if p.GUID != "" {
			value += ", " + p.GUID
		}
		if p.Attributes != 0 {
			value += fmt.Sprintf(", attributes %#x", p.Attributes)
		}
		list = append(list, Item{cmp.Or(p.Label, fmt.Sprint(p.Number)), value})
	}
	return list
}

func (r *Report) metaItems() (list []Item) {
	for _, m := range r.Meta {
		list = append(list, Item{fmt.Sprintf("%d (%s)", m.Key, m.From), fmt.Sprintf("%q", m.Value)})
	}
	return list
}

func (r *Report) keyItems() (list []Item) {
	for _, k := range r.Keys {
		list = append(list, Item{k.Path, hashText(k.SHA256)})
	}
	return list
}

// addFiles compares the files of layers of the same name.
func (d *Differences) addFiles(ctx context.Context, from, to *Artefact) error {
	a, b := from.byName(), to.byName()
	var lost, found []Item
	for _, name := range from.layerNames() {
		if b[name] == nil {
			lost = append(lost, Item{name, a[name].summary()})
			continue
		}
		s, err := compareLayers(ctx, from, to, a[name], b[name])
		if err != nil {
			return err
		}
		d.Add(s)
	}
	for _, name := range to.layerNames() {
		if a[name] == nil {
			found = append(found, Item{name, b[name].summary()})
		}
	}
	d.Add(Compare("layers", lost, found))
	return nil
}

func (a *Artefact) byName() map[string]*layer {
	m := make(map[string]*layer, len(a.layers))
	for _, l := range a.layers {
		m[l.name] = l
	}
	return m
}

func (a *Artefact) layerNames() (names []string) {
	for _, l := range a.layers {
		names = append(names, l.name)
	}
	return names
}

func (a *Artefact) isExtension(path string) bool {
	return slices.ContainsFunc(a.Report.Extensions, func(e Extension) bool { return e.Layer == path })
}

func (l *layer) summary() string {
	files, size := 0, int64(0)
	for _, f := range l.entries() {
		if f.Mode.isRegular() {
			files++
			size += f.Size
		}
	}
	return fmt.Sprintf("%s, %s", countOf(files, "file"), Bytes(size))
}

const filesOf = "files of "

// compareLayers compares the files of two layers. Files of different sizes differ: both hashes are told all the same.
func compareLayers(ctx context.Context, from, to *Artefact, x, y *layer) (DiffSection, error) {
	if x.sum != "" && x.sum == y.sum {
		return DiffSection{}, nil
	}
	a, err := from.fileItems(ctx, x)
	if err != nil {
		return DiffSection{}, err
	}
	b, err := to.fileItems(ctx, y)
	return Compare(filesOf+x.name, a, b), err
}

func (a *Artefact) fileItems(ctx context.Context, l *layer) ([]Item, error) {
	entries := l.entries()
	list := make([]Item, 0, len(entries))
	for _, f := range entries {
		if l.name == membersLayer && a.isExtension(f.Path) {
			continue // compared as such: its number depends on the others
		}
		if err := a.hashFile(ctx, l, &f); err != nil {
			return nil, err
		}
		value := fmt.Sprintf("%s %d:%d", f.Mode, f.UID, f.GID)
		switch {
		case f.Mode.isRegular():
			value += fmt.Sprintf(" %d bytes, sha256:%s", f.Size, f.SHA256)
		case f.Link != "":
			value += " -> " + f.Link
		}
		for _, key := range slices.Sorted(maps.Keys(f.Xattrs)) {
			value += fmt.Sprintf(" %s=%q", key, f.Xattrs[key])
		}
		list = append(list, Item{f.Path, value})
	}
	return list, nil
}
