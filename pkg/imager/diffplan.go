package imager

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/talos"
)

// DiffPlans compares what two profiles make. It does not depend on the machine: steps and what only they tell are not compared, nor is who
// asked for a kernel argument.
func DiffPlans(from, to *Description) *inspect.Differences {
	d := &planDiff{}
	d.section("Talos", "", inspect.Compare("", talosItem(from), talosItem(to)))
	if from.Talos != to.Talos && from.Talos != "" && to.Talos != "" {
		d.say(changesTalos, "this changes Talos", ": ", from.Talos+" → "+to.Talos)
	}
	a, b := byTarget(from), byTarget(to)
	d.images(from, to, a, b)
	for _, img := range to.Images {
		if old, ok := a[img.target()]; ok {
			d.image(old, img)
		}
	}
	return d.differences()
}

// target says which image and architecture it is, for people.
func (d *ImageDescription) target() string { return d.Name + " " + d.Architecture }

func talosItem(d *Description) []inspect.Item {
	if d.Talos == "" {
		return nil
	}
	return []inspect.Item{{Name: "version", Value: d.Talos}}
}

func byTarget(d *Description) map[string]ImageDescription {
	all := map[string]ImageDescription{}
	for _, img := range d.Images {
		all[img.target()] = img
	}
	return all
}

// planDiff collects what is the same for several images under one name.
type planDiff struct {
	sections []groupedSection
	claims   []claim
}

type groupedSection struct {
	what    string   // "extensions"
	images  []string // "metal amd64"; an empty one where it is of the whole plan
	changes []inspect.Change
}

// claim is a sentence of the summary.
type claim struct {
	rank   rank
	text   string
	joint  string // between the text and the images; empty where it is not about images
	images []string
}

// rank is how much a claim counts: what is lost comes first.
type rank int

const (
	removesImage rank = iota
	removesExtension
	removesOutput
	changesTalos
	addsExtension
	changesExtension
	changesArguments
	addsOutput
	addsImage
	changesRest
)

func (d *planDiff) section(what, image string, s inspect.DiffSection) {
	if len(s.Changes) == 0 {
		return
	}
	for i, have := range d.sections {
		if have.what == what && reflect.DeepEqual(have.changes, s.Changes) {
			d.sections[i].images = append(have.images, image)
			return
		}
	}
	d.sections = append(d.sections, groupedSection{what: what, images: []string{image}, changes: s.Changes})
}

// say claims something of images.
func (d *planDiff) say(r rank, text, joint string, images ...string) {
	for i, have := range d.claims {
		if have.rank == r && have.text == text && have.joint == joint {
			d.claims[i].images = append(have.images, images...)
			return
		}
	}
	d.claims = append(d.claims, claim{r, text, joint, images})
}

func (d *planDiff) differences() *inspect.Differences {
	all := inspect.NewDifferences()
	for _, s := range d.sections {
		name := s.what
		if s.images[0] != "" {
			name += " of " + few(s.images)
		}
		all.Add(inspect.DiffSection{Name: name, Changes: s.changes})
	}
	slices.SortStableFunc(d.claims, func(a, b claim) int { return cmp.Compare(a.rank, b.rank) })
	for _, c := range d.claims {
		if len(c.images) > 1 && (c.rank == removesImage || c.rank == addsImage) {
			c.text += "s"
		}
		all.Summary = append(all.Summary, inspect.Shorten(c.text)+c.joint+few(c.images))
	}
	return all
}

// few lists names, but not too many.
func few(names []string) string {
	const most = 6
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// images compares which images there are.
func (d *planDiff) images(from, to *Description, a, b map[string]ImageDescription) {
	items := func(of *Description, other map[string]ImageDescription) (list []inspect.Item) {
		for _, img := range of.Images {
			value := img.Platform
			if _, both := other[img.target()]; !both {
				value = img.outline()
			}
			list = append(list, inspect.Item{Name: img.target(), Value: value})
		}
		return list
	}
	s := inspect.Compare("", items(from, b), items(to, a))
	d.section("images", "", s)
	for _, c := range s.Changes {
		switch c.Change {
		case inspect.Removed:
			d.say(removesImage, "this removes the image", " ", c.Name)
		case inspect.Added:
			d.say(addsImage, "this adds the image", " ", c.Name)
		case inspect.Changed:
			d.say(changesRest, fmt.Sprintf("this changes the platform (%s → %s)", c.From, c.To), " of ", c.Name)
		}
	}
}

// outline says what an image is in a line.
func (d *ImageDescription) outline() string {
	text := d.Platform
	var names []string
	for _, e := range d.Extensions {
		names = append(names, e.Name)
	}
	if len(names) > 0 {
		text += "; " + strings.Join(names, ", ")
	}
	if d.Overlay != nil {
		text += "; overlay " + d.Overlay.Name
	}
	names = nil
	for _, o := range d.Outputs {
		names = append(names, string(o.Kind))
	}
	return text + "; " + strings.Join(names, ", ")
}

// image compares one that is in both plans.
func (d *planDiff) image(from, to ImageDescription) {
	name := to.target()
	s := inspect.CompareOrdered("", from.extensionItems(), to.extensionItems())
	d.section("extensions", name, s)
	for _, c := range s.Changes {
		switch c.Change {
		case inspect.Removed:
			d.say(removesExtension, "this removes "+c.Name, " from ", name)
		case inspect.Added:
			d.say(addsExtension, "this adds "+c.Name, " to ", name)
		case inspect.Changed:
			d.say(changesExtension, fmt.Sprintf("this changes %s (%s)", c.Name, newVersion(from.version(c.Name), to.version(c.Name))), " in ", name)
		default:
			d.say(changesExtension, "this changes the order of extensions", " in ", name)
		}
	}
	d.overlay(name, from, to)
	s = inspect.CompareOrdered("", inspect.Arguments(from.Cmdline), inspect.Arguments(to.Cmdline))
	d.section("kernel arguments", name, s)
	if len(s.Changes) > 0 {
		var keys []string
		for _, c := range s.Changes {
			keys = append(keys, c.Name)
		}
		d.say(changesArguments, "this changes kernel arguments ("+few(keys)+")", " of ", name)
	}
	s = inspect.Compare("", from.metaItems(), to.metaItems())
	d.section("META", name, s)
	if len(s.Changes) > 0 {
		d.say(changesArguments, "this changes META values", " of ", name)
	}
	d.outputs(name, from, to)
	d.section("sizes of extensions", name, inspect.Compare("", from.sizeItems(to), to.sizeItems(from)))
	s = inspect.Compare("", from.baseItems(to), to.baseItems(from))
	d.section("images of Talos itself", name, s)
	for _, c := range s.Changes {
		if from.base(c.Name).Reference == to.base(c.Name).Reference {
			d.say(changesRest, fmt.Sprintf("this changes %s (the same name, other content)", c.Name), " of ", name)
		}
	}
}

func (d *planDiff) outputs(name string, from, to ImageDescription) {
	s := inspect.Compare("", from.outputItems(), to.outputItems())
	d.section("outputs", name, s)
	for _, c := range s.Changes {
		switch c.Change {
		case inspect.Removed:
			d.say(removesOutput, "this removes", " ", c.Name)
		case inspect.Added:
			d.say(addsOutput, "this adds", " ", c.Name)
		default:
			d.say(changesRest, "this changes outputs", " of ", name)
		}
	}
}

// newVersion says in which way an extension is another one.
func newVersion(from, to string) string {
	switch {
	case from != to && from != "" && to != "":
		return from + " → " + to
	case from == to && from != "":
		return "the same version, other content"
	}
	return "other content"
}

func (d *ImageDescription) version(extension string) string {
	for _, e := range d.Extensions {
		if e.Name == extension && e.Version != nil {
			return *e.Version
		}
	}
	return ""
}

func (d *ImageDescription) extensionItems() (list []inspect.Item) {
	for _, e := range d.Extensions {
		var value []string
		if e.Version != nil {
			value = append(value, *e.Version)
		}
		if e.Digest != "" { // none of what is made of the profile
			value = append(value, e.Digest)
		}
		list = append(list, inspect.Item{Name: e.Name, Value: strings.Join(value, ", ")})
	}
	return list
}

// sizeItems are the sizes of what both have.
func (d *ImageDescription) sizeItems(other ImageDescription) (list []inspect.Item) {
	has := func(in ImageDescription, name string) bool {
		return slices.ContainsFunc(in.Extensions, func(e ExtensionDescription) bool { return e.Name == name && e.Size != nil })
	}
	sum := int64(0)
	for _, e := range d.Extensions {
		if e.Size == nil {
			continue
		}
		sum += *e.Size
		if has(other, e.Name) {
			list = append(list, inspect.Item{Name: e.Name, Value: inspect.Bytes(*e.Size)})
		}
	}
	return append(list, inspect.Item{Name: "all", Value: inspect.Bytes(sum)})
}

func (d *ImageDescription) metaItems() (list []inspect.Item) {
	for _, m := range d.Meta {
		list = append(list, inspect.Item{Name: m.Label(), Value: fmt.Sprintf("%d bytes, sha256:%s, in %s", m.Size, m.SHA256, kindList(m.Reaches))})
	}
	return list
}

// Label is the key with its name.
func (m MetaDescription) Label() string {
	if m.Name == nil {
		return fmt.Sprint(m.Key)
	}
	return fmt.Sprintf("%d (%s)", m.Key, *m.Name)
}

func kindList(kinds []talos.Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func (d *ImageDescription) base(name string) BaseDescription {
	for _, b := range d.Bases {
		if b.Name == name {
			return b
		}
	}
	return BaseDescription{}
}

// baseItems are the images of Talos whose digests are known of both.
func (d *ImageDescription) baseItems(other ImageDescription) (list []inspect.Item) {
	for _, b := range d.Bases {
		if b.Digest != nil && other.base(b.Name).Digest != nil {
			list = append(list, inspect.Item{Name: b.Name, Value: *b.Digest})
		}
	}
	return list
}

func (d *ImageDescription) outputItems() (list []inspect.Item) {
	for _, o := range d.Outputs {
		list = append(list, inspect.Item{Name: o.File, Value: o.outline()})
	}
	return list
}

// outline says what an output is in a line. What follows from the image's kernel command line is told there.
func (o *OutputDescription) outline() string {
	text := string(o.Kind)
	add := func(value string) {
		if value != "" {
			text += ", " + value
		}
	}
	if o.Format != nil {
		add(*o.Format)
	}
	if o.Compression != nil {
		add("compression " + *o.Compression)
	}
	if o.Bootloader != nil {
		add(string(*o.Bootloader))
	}
	if o.Size != nil && !o.Estimated && o.Bootloader != nil { // of a disk: that of others follows from what is in them
		add(inspect.Bytes(*o.Size))
	}
	if o.SectorSize != nil && *o.SectorSize != sectorSize {
		add(fmt.Sprintf("sectors of %d bytes", *o.SectorSize))
	}
	for _, p := range o.Partitions {
		size := "the rest"
		if p.Size != nil {
			size = inspect.Bytes(*p.Size)
		}
		add(p.Label + " " + size)
	}
	for _, a := range o.Adds {
		if a.Origin != "meta" { // told by themselves
			add("adds " + a.Arg)
		}
	}
	if o.Cmdline == nil {
		add("without a kernel command line")
	}
	if o.Tag != nil {
		add(*o.Tag)
	}
	return text
}
