package profile

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/vmdisk"
)

const (
	maxImages  = 1000 // that matrices make, too
	maxBases   = 100  // of one image, and theirs
	maxOutputs = 100  // of one image, with inherited ones
)

// instance is an image block for one combination of its matrix.
type instance struct {
	name   string
	block  *block
	matrix map[string]cty.Value
	bases  []*instance
	own    *node
}

// abstract images are only inherited from.
func (i *instance) abstract() bool { return strings.HasPrefix(i.name, "_") }

// images resolves image blocks.
func (d *decoder) images(blocks []*block, t *Talos) []*Image {
	var all []*instance
	byName := map[string]*instance{}
	for _, b := range blocks {
		for _, i := range d.instances(b) {
			first := byName[i.name]
			switch {
			case first != nil && first.block == b:
				d.add(b.attributes["name"].expr.Range(), "Duplicate image",
					"Several combinations of the matrix give the name %q. Use all of its keys in the name.", i.name)
				continue
			case first != nil:
				d.add(b.at, "Duplicate image", "There is an image %q already, at %s. Rename one of them.", i.name, place(first.block.at))
				continue
			}
			byName[i.name] = i
			all = append(all, i)
		}
	}
	if len(all) > maxImages {
		d.add(all[maxImages].block.at, "Too many images",
			"The profile makes %d images; at most %d are allowed. Make its matrices smaller.", len(all), maxImages)
		return nil
	}
	for _, i := range all {
		d.link(i, byName)
	}
	d.cycles(all)
	var images []*Image
	files := map[string]claim{}
	for _, i := range all {
		if img := d.image(i, t, files); img != nil {
			images = append(images, img)
		}
	}
	if len(images) == 0 && !slices.ContainsFunc(all, func(i *instance) bool { return !i.abstract() }) && !d.failed() {
		at := t.Range
		if len(blocks) > 0 {
			at = blocks[0].at
		}
		d.add(at, "No image", "The profile has no image that could be built. Add one: image \"metal\" { output \"iso\" {} }")
	}
	return images
}

// instances expands a block's matrix.
func (d *decoder) instances(b *block) []*instance {
	matrix, name := b.attributes["matrix"], b.attributes["name"]
	if matrix == nil {
		if name != nil {
			d.add(name.name, "Attribute not allowed", "\"name\" goes with \"matrix\"; without one, the label is the image's name. Remove it.")
		}
		return []*instance{{name: b.label, block: b}}
	}
	if name == nil {
		d.add(matrix.name, "Missing attribute",
			"An image with a matrix needs \"name\", which tells its images apart: name = \"%s-${…}\"", b.label)
		return nil
	}
	var out []*instance
	for _, values := range d.combinations(matrix) {
		v, ok := d.setting(name, values)
		if ok && v.of != nil {
			out = append(out, &instance{name: v.of.(string), block: b, matrix: values})
		}
	}
	return out
}

// combinations returns every combination of a matrix's lists, the last key changing fastest.
func (d *decoder) combinations(s *setting) []map[string]cty.Value {
	const summary = "Bad matrix"
	v := d.value(s.expr, nil)
	if !v.IsWhollyKnown() {
		return nil
	}
	at := s.expr.Range()
	if v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		d.add(at, summary, "A matrix is an object of lists, not %s. Write { console = [\"ttyS0\", \"ttyS1\"] }.", describe(v))
		return nil
	}
	if v.LengthInt() == 0 {
		d.add(at, summary, "A matrix needs at least one list, such as { console = [\"ttyS0\", \"ttyS1\"] }.")
		return nil
	}
	all := []map[string]cty.Value{{}}
	lists := v.AsValueMap()
	ranges := itemRanges(s.expr)
	for _, key := range sortedKeys(lists) {
		at, ok := ranges[key]
		if !ok {
			at = s.expr.Range()
		}
		if !d.checkString(key, at, "matrix variable", nil, variableNameRule) {
			return nil
		}
		values := lists[key]
		if values.IsNull() || !values.CanIterateElements() || values.Type().IsObjectType() || values.Type().IsMapType() || values.LengthInt() == 0 {
			d.add(at, summary, "The values of %q must be a list with at least one element, not %s.", key, describe(values))
			return nil
		}
		if len(all)*values.LengthInt() > maxImages {
			d.add(at, summary, "The matrix has more than %d combinations. Make it smaller.", maxImages)
			return nil
		}
		var next []map[string]cty.Value
		for _, combination := range all {
			for it := values.ElementIterator(); it.Next(); {
				_, element := it.Element()
				more := maps.Clone(combination)
				more[key] = element
				next = append(next, more)
			}
		}
		all = next
	}
	return all
}

// link finds the images that an image inherits.
func (d *decoder) link(i *instance, byName map[string]*instance) {
	i.own = d.node(i.block, i.matrix)
	if !d.outputs(i, i.own) {
		i.own.blocks = nil
	}
	inherits, ok := i.own.values["inherits"].of.([]Text)
	if !ok {
		return
	}
	for _, t := range inherits {
		base := byName[t.Value]
		if base == nil {
			known := slices.DeleteFunc(sortedKeys(byName), func(name string) bool { return name == i.name })
			d.add(t.Range, "Unknown image", "There is no image %s to inherit. %s", quote(t.Value), didYouMean(t.Value, known))
			continue
		}
		i.bases = append(i.bases, base)
	}
}

// cycles reports circles of inheritance, each once, and cuts them.
func (d *decoder) cycles(all []*instance) {
	done := map[*instance]bool{}
	var path []*instance
	var visit func(i *instance)
	visit = func(i *instance) {
		path = append(path, i)
		defer func() { path = path[:len(path)-1] }()
		i.bases = slices.DeleteFunc(i.bases, func(base *instance) bool {
			at := slices.Index(path, base)
			if at >= 0 {
				var chain []string
				for _, link := range append(slices.Clone(path[at:]), base) {
					chain = append(chain, fmt.Sprintf("%q", link.name))
				}
				d.add(i.own.values["inherits"].at, "Inheritance cycle",
					"An image can't inherit itself: %s. Remove one of these.", strings.Join(chain, " → "))
				return true
			}
			if !done[base] {
				visit(base)
			}
			return false
		})
		done[i] = true
	}
	for _, i := range all {
		if !done[i] {
			visit(i)
		}
	}
}

// resolved returns an image's node with everything that it inherits; nil after it reported that this is too much. Each base counts once,
// where it is first reached.
func (d *decoder) resolved(i *instance) *node {
	var order []*instance
	seen := map[*instance]bool{}
	var visit func(*instance)
	visit = func(i *instance) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, base := range i.bases {
			visit(base)
		}
		order = append(order, i)
	}
	visit(i)
	if len(order) > maxBases {
		d.add(i.block.at, "Too many bases", "The image %q inherits %d images, directly or not; at most %d are allowed.", i.name, len(order)-1, maxBases-1)
		return nil
	}
	n := order[0].own
	for _, next := range order[1:] {
		n = next.own.inherit(n)
		for _, name := range sortedKeys(n.values) {
			if of := reflect.ValueOf(n.values[name].of); of.Kind() == reflect.Slice && of.Len() > MaxList {
				d.add(i.block.at, "Too many elements", "With what the image %q inherits, its %q has %d elements; at most %d are allowed.", i.name, name, of.Len(), MaxList)
				return nil
			}
		}
		if !d.outputs(i, n) {
			return nil
		}
	}
	return n
}

// outputs says whether an image has few enough, or reports it.
func (d *decoder) outputs(i *instance, n *node) bool {
	if outputs := n.only(outputSpec); len(outputs) > maxOutputs {
		d.add(i.block.at, "Too many outputs", "The image %q has %d outputs, with inherited ones; at most %d are allowed.", i.name, len(outputs), maxOutputs)
		return false
	}
	return true
}

// claim is an output that writes a file or has a tag.
type claim struct {
	image string
	at    hcl.Range
}

// image makes an image of what was written and inherited; nil for one that is only inherited from.
func (d *decoder) image(i *instance, t *Talos, claims map[string]claim) *Image {
	if i.abstract() {
		return nil
	}
	n := d.resolved(i)
	if n == nil {
		return nil
	}
	img := &Image{Name: i.name, Label: i.block.label}
	fill(img, n)
	d.noRepeats(n, "architectures", "architecture", img.Architectures)
	var names []string
	for _, ref := range img.Extensions {
		names = append(names, ref.Name)
	}
	d.noRepeats(n, "extensions", "extension", names)
	var paths []string
	for _, t := range img.Override {
		paths = append(paths, t.Value)
	}
	d.noRepeats(n, "override", "override path", paths)
	for _, b := range n.only(overlaySpec) {
		img.Overlay = d.overlay(b)
	}
	outputs := n.only(outputSpec)
	for _, b := range outputs {
		out := Output{Kind: talos.Kind(b.label)}
		fill(&out, b)
		if !slices.Contains(outputKinds(), b.label) {
			continue // reported
		}
		d.tag(&out, img, t)
		complete(&out, img)
		img.Outputs = append(img.Outputs, out)
		d.claim(claims, img, out)
	}
	if len(outputs) == 0 && !slices.ContainsFunc(i.block.blocks, func(b *block) bool { return b.spec == outputSpec }) {
		d.add(i.block.at, "Image without outputs", "Nothing would be built of the image %q. Add an output: output \"iso\" {}", i.name)
	}
	d.check(img, t)
	return img
}

// only are a node's blocks of a kind.
func (n *node) only(spec *blockSpec) (blocks []*node) {
	for _, b := range n.blocks {
		if b.spec == spec {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// overlay makes an image's overlay.
func (d *decoder) overlay(n *node) *Overlay {
	o := &Overlay{}
	fill(o, n)
	var given []string
	for _, name := range []string{"image", "path", "tarball", "oci_layout"} {
		if _, ok := n.values[name]; ok {
			given = append(given, name)
		}
	}
	if len(given) > 1 {
		d.add(n.at, "Several sources", "The overlay has %s. It comes from one of them: remove the others.", list(given, "and"))
	}
	return o
}

// complete gives a disk what its platform has, and a base URL its form.
func complete(o *Output, img *Image) {
	o.BaseURL = strings.TrimRight(o.BaseURL, "/")
	p, err := talos.FindPlatform(img.Platform)
	if o.Kind != talos.KindDisk || err != nil {
		return
	}
	if own := vmdisk.Format(p.Disk.Format); o.Format == "" || o.Format == own {
		o.Format = own
		o.Compression = cmp.Or(o.Compression, vmdisk.Compression(p.Disk.Compression))
	}
	o.Compression = cmp.Or(o.Compression, vmdisk.None)
}

// noRepeats reports a value that a list has twice.
func (d *decoder) noRepeats(n *node, attribute, what string, values []string) {
	first := map[string]hcl.Range{}
	for j, v := range values {
		at := n.itemRange(attribute, j)
		if before, ok := first[v]; ok {
			d.add(at, "Repeated "+what, "The image has the %s %q already, from %s. Remove one.", what, v, place(before))
			continue
		}
		first[v] = at
	}
}

// itemRange is where an element of a list stands.
func (n *node) itemRange(attribute string, i int) hcl.Range {
	switch list := n.values[attribute].of.(type) {
	case []Text:
		return list[i].Range
	case []ExtensionRef:
		return list[i].Range
	}
	return n.at
}

// tag completes and checks an installer's tag.
func (d *decoder) tag(o *Output, img *Image, t *Talos) {
	if o.Kind != talos.KindInstaller {
		return
	}
	if o.Tag == "" {
		o.Tag = fmt.Sprintf("talosmith.local/installer:%s-%s", t.Version, img.Name)
		return
	}
	d.ownTag(o.At("tag"), o.Tag, t)
}

// ownTag reports a tag that can't be the user's own.
func (d *decoder) ownTag(at hcl.Range, tag string, t *Talos) {
	for _, official := range []string{talos.Registry, t.Registry} {
		if official != "" && strings.HasPrefix(tag, official+"/") {
			d.add(at, "Bad tag",
				"%s lies in %s, where Talos's own images come from: machines could not tell them apart. Use a repository of your own.",
				quote(tag), official)
			return
		}
	}
}

// claim reports files and tags that two outputs would write.
func (d *decoder) claim(claims map[string]claim, img *Image, o Output) {
	mine := claim{img.Name, o.Range}
	for _, file := range img.FileNames(o) {
		key := strings.ToLower(file)                             // file systems of macOS and Windows fold case
		if other, taken := claims[key]; taken && other != mine { // the same where an architecture is repeated
			d.add(o.Range, "Same output file",
				"%s of the image %q would be written by the output at %s (image %q), too. Remove one, or rename an image.",
				file, img.Name, place(other.at), other.image)
			return
		}
		claims[key] = mine
	}
	if o.Kind == talos.KindInstaller {
		if other, taken := claims["tag "+o.Tag]; taken {
			d.add(o.At("tag"), "Same tag",
				"The installer of the image %q has the same tag, at %s: one would replace the other. Give each image its own.",
				other.image, place(other.at))
			return
		}
		claims["tag "+o.Tag] = mine
	}
}

var (
	officialName = regexp.MustCompile(`^siderolabs/[a-z0-9]+(?:[._-][a-z0-9]+)*$`)
	bareName     = regexp.MustCompile(`^[a-z0-9._-]+`)
)

// decodeExtensionRefs makes a []ExtensionRef. Whether an official name exists, only the catalogue of the version can say.
func decodeExtensionRefs(d *decoder, s *setting, v cty.Value) any {
	refs := []ExtensionRef{}
	for _, t := range d.strings(s, v) {
		if wrong := d.extensionRef(t, &refs); wrong != "" {
			d.add(t.Range, "Unknown extension", "%s", wrong)
		}
	}
	return refs
}

func (d *decoder) extensionRef(t Text, refs *[]ExtensionRef) (wrong string) {
	name, declared := strings.CutPrefix(t.Value, extensionPrefix)
	switch {
	case declared:
		e := d.declared[name]
		if e == nil {
			return fmt.Sprintf("The profile declares no extension %s. %s", quote(name), didYouMean(name, sortedKeys(d.declared)))
		}
		*refs = append(*refs, ExtensionRef{name, e, t.Range})
	case officialName.MatchString(t.Value):
		*refs = append(*refs, ExtensionRef{t.Value, nil, t.Range})
	case t.Value == "":
		return "An extension's name can't be empty. Leave the element out; compact([…]) drops empty ones."
	case d.declared[t.Value] != nil:
		return fmt.Sprintf(
			"%s has no host or namespace. Did you mean the declared extension, extension.%s, or the official one, \"siderolabs/%[2]s\"?",
			quote(t.Value), t.Value)
	case bareName.FindString(t.Value) == t.Value:
		return fmt.Sprintf("Official extensions are named with their namespace. Did you mean \"siderolabs/%s\"?", t.Value)
	default:
		_, rest, _ := strings.Cut(t.Value, "siderolabs/")
		if short := bareName.FindString(rest); short != "" {
			return fmt.Sprintf(
				"%s is an image. An official extension is named without host and version, which the catalogue of the Talos version gives: \"siderolabs/%s\".",
				quote(t.Value), short)
		}
		return fmt.Sprintf(
			"%s is not the name of an official extension. Declare it: extension \"NAME\" { image = %[1]s }, and use extension.NAME here.",
			quote(t.Value))
	}
	return ""
}
