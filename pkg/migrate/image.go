package migrate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/schematic"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/vmdisk"
)

// image is what both kinds of files say of one. What is asked of it is kept as far as a profile can say it; kept is its schematic.
type image struct {
	*draft
	facts talos.Facts
	kept  schematic.Schematic
}

func newImage(f talos.Facts) *image {
	m := &image{draft: &draft{}, facts: f}
	m.talos = block{name: "talos"}
	m.talos.set("version", cty.StringVal(f.Version.String()))
	m.image = block{name: "image", labels: []string{f.Platform.Name}}
	if f.Platform.Name != "metal" {
		m.image.set("platform", cty.StringVal(f.Platform.Name))
	}
	if f.Arch != talos.AMD64 {
		m.image.set("architectures", cty.TupleVal([]cty.Value{cty.StringVal(f.Arch)}))
	}
	return m
}

// lost notes what has no equivalent.
func (m *image) lost(what, why string, args ...any) {
	m.image.notes = append(m.image.notes, none(what, why, args...))
}

func (m *image) kernelArgs(args []string) {
	var kept, notes []string
	for _, arg := range args {
		words := strings.Fields(arg)
		if len(words) != 1 || words[0] != arg {
			notes = append(notes, fmt.Sprintf("%s was one argument. Talos splits its command line at white space, so this is the same.", quoted(arg)))
		}
		for _, word := range words {
			if wrong := profile.Refusal("image", "kernel_args", word); wrong != "" {
				notes = append(notes, none("kernel argument "+quoted(word), "%s", wrong))
				continue
			}
			kept = append(kept, word)
		}
	}
	if len(kept) > profile.MaxList {
		notes = append(notes, none(fmt.Sprintf("%d of %d kernel arguments", len(kept)-profile.MaxList, len(kept)), "A list has at most %d elements.", profile.MaxList))
		kept = kept[:profile.MaxList]
	}
	m.image.list("kernel_args", stringsOf(kept), notes...)
	m.kept.Customization.ExtraKernelArgs = kept
}

// metaValues are kept sorted, as a profile has them.
func (m *image) metaValues(values []schematic.MetaValue) {
	var kept []schematic.MetaValue
	for _, v := range values {
		what := fmt.Sprintf("META value %d", v.Key)
		one := talos.MetaValue{Key: v.Key, Value: v.Value}
		err := talos.CheckMeta(talos.KindISO, []talos.MetaValue{one})
		switch {
		case err != nil:
			m.lost(what, "%s", sentence(err))
		case slices.ContainsFunc(kept, func(k schematic.MetaValue) bool { return k.Key == v.Key }):
			m.lost("a second "+what, "A key has one value; the one here is the first.")
		case !utf8.ValidString(v.Value):
			m.lost(what, "It is not UTF-8.")
		case v.Key == talos.MetaDualBoot:
			m.lost(what, "It tells a machine which boot loader to keep, and a disk with both has it already.")
		default:
			kept = append(kept, schematic.MetaValue{Key: v.Key, Value: cty.NormalizeString(v.Value)})
		}
	}
	slices.SortFunc(kept, func(a, b schematic.MetaValue) int { return cmp.Compare(a.Key, b.Key) })
	var all []talos.MetaValue
	for _, v := range kept {
		all = append(all, talos.MetaValue{Key: v.Key, Value: v.Value})
	}
	if err := talos.CheckMeta(talos.KindISO, all); err != nil {
		m.lost("META values", "%s", sentence(err))
		kept = nil
	}
	m.meta = kept
	m.kept.Customization.Meta = kept
}

func (m *image) embeddedConfig(config string) {
	const what = "embedded machine configuration"
	switch wrong := profile.Refusal("image", "embedded_config", config); {
	case config == "":
		return
	case !m.facts.EmbeddedConfig:
		m.lost(what, "Talos %s does not look for one.", m.facts.Version)
		return
	case !utf8.ValidString(config):
		m.lost(what, "It is not UTF-8.")
		return
	case wrong != "":
		m.lost(what, "%s", strings.SplitAfter(wrong, ".")[0])
		return
	}
	m.image.text("embedded_config", config, "It may hold secrets: think before this is committed. embedded_config = file(\"controlplane.yaml\") takes it from a file.")
	m.kept.Customization.EmbeddedMachineConfiguration = cty.NormalizeString(config)
}

// overlayOptions are what an overlay's installer is told.
func (m *image) overlayOptions(b *block, options map[string]any) {
	if len(options) == 0 {
		return
	}
	c := converter{left: profile.MaxPlain}
	v, plain, err := c.convert(options, profile.MaxPlainDepth)
	if err != nil {
		b.notes = append(b.notes, none("options", "%s", sentence(err)))
		return
	}
	b.attributes = append(b.attributes, attribute{name: "options", tokens: hclwrite.TokensForValue(v)})
	m.kept.Overlay.Options = plain.(map[string]any)
}

// overlayBlock begins the block of an overlay; false if there can't be any.
func (m *image) overlayBlock(name string) (block, bool) {
	what := "overlay " + quoted(name)
	switch wrong := profile.Refusal("overlay", "name", name); {
	case !m.facts.Overlays:
		m.lost(what, "Talos %s has no overlays.", m.facts.Version)
	case wrong != "":
		m.lost(what, "%s", wrong)
	default:
		b := block{name: "overlay"}
		b.set("name", cty.StringVal(name))
		b.notes = append(b.notes, "An overlay brings a program of others, its installer. Images are built when it may run on this machine: run = true.")
		return b, true
	}
	return block{}, false
}

// sectorSize is added to a disk. What boots one with an overlay is known when it is built.
func (m *image) sectorSize(b *block, size uint, what string, format vmdisk.Format, overlay bool) bool {
	loader := b.bootloader()
	if loader == "" {
		loader = m.facts.Bootloader(talos.KindDisk)
		if overlay && m.facts.SDBootUEFI {
			loader = talos.SDBoot
		}
	}
	wrong := ""
	if size > math.MaxInt32 {
		wrong = "No disk has such sectors."
	} else if err := m.facts.CheckSectorSize(loader, int64(size)); err != nil {
		wrong = sentence(err)
	} else {
		o := vmdisk.Options{Format: format, SectorSize: int64(size), ID: [16]byte{1}, Time: time.Unix(0, 0)}
		for _, r := range vmdisk.Refusals(o.Check(talos.MiB)) {
			wrong = fmt.Sprintf("The format %s: %s.", format, r.Problem)
		}
	}
	if wrong != "" {
		b.notes = append(b.notes, none(what, "%s", wrong))
		return false
	}
	b.set("sector_size", cty.NumberUIntVal(uint64(size)))
	return true
}

// bootloader is the one that an output has; empty for none of its own.
func (b *block) bootloader() talos.Bootloader {
	for _, a := range b.attributes {
		if a.name == "bootloader" {
			return talos.Bootloader(strings.Trim(string(a.tokens.Bytes()), `"`))
		}
	}
	return ""
}

// bootloader is added to an output.
func (m *image) bootloader(b *block, loader string) bool {
	if loader == "" || loader == "none" {
		return true
	}
	wrong := profile.Refusal("output", "bootloader", loader)
	if err := m.facts.CheckBootloader(talos.Bootloader(loader)); wrong == "" && err != nil {
		wrong = sentence(err)
	}
	if wrong != "" {
		b.notes = append(b.notes, none("boot loader "+quoted(loader), "%s", wrong))
		return false
	}
	b.set("bootloader", cty.StringVal(loader))
	return true
}
