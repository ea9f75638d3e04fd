package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/talos"
)

// planText is a plan for people.
func planText(d *imager.Description, colors bool) *page {
	p := &page{colors: colors}
	for _, img := range d.Images {
		p.line(bold, fmt.Sprintf("%s  %s  Talos %s for %s", img.Name, img.Architecture, d.Talos, img.Platform))
		argsText(p, img)
		metaText(p, img)
		if img.Overlay != nil {
			p.head("overlay", "image", "digest", "from")
			p.row(texts(plain, img.Overlay.Name, digests.ReplaceAllString(img.Overlay.Image, ""), short(img.Overlay.Digest), img.Overlay.From)...)
			for _, line := range runs(img.Overlay) {
				p.line(bold, indent+line)
			}
		}
		if len(img.Extensions) > 0 {
			p.head("ID", "extension", "version", "tier", "size", "layer", "firmware", "microcode", "modules", "digest", "from")
		}
		for _, e := range img.Extensions {
			p.row(texts(plain, e.ID, e.Name, known(e.Version), orDash(e.Tier), knownBytes(e.Size), knownBytes(e.Layer), noneOr(e.Firmware, amount), noneOr(e.Microcode, amount),
				noneOr(e.Modules, strconv.Itoa), short(e.Digest), e.From)...)
		}
		p.head("output", "file", "size", "boot loader", "partitions", "adds")
		for _, o := range img.Outputs {
			p.row(texts(plain, string(o.Kind), o.File, estimated(o.Size, o.Estimated), loader(o), dash(partitions(o)), dash(adds(o)))...)
		}
		limitsText(p, img)
		p.head("made of", "size", "to download", "digest")
		for _, b := range img.Bases {
			p.row(texts(plain, b.Reference, knownBytes(b.Size), knownBytes(b.Download), short(known(b.Digest)))...)
		}
		stepsText(p, img)
		p.line(plain, "")
	}
	if d.Work != nil {
		p.line(bold, workText(*d.Work))
	}
	return p
}

// head begins a table.
func (p *page) head(columns ...string) {
	p.line(plain, "")
	p.row(texts(bold, columns...)...)
}

func argsText(p *page, img imager.ImageDescription) {
	p.head("kernel argument", "from")
	for _, a := range img.Args {
		p.row(cell{a.Arg, plain}, cell{a.Origin, faint})
	}
	for _, a := range img.Removed {
		p.row(cell{"(" + a.Arg + ")", red}, cell{a.Origin + ", removed by " + a.By, faint})
	}
	for _, line := range reach(img) {
		p.line(plain, indent+line)
	}
}

// runs says that a build runs what others have made.
func runs(o *imager.OverlayDescription) (lines []string) {
	if !o.Run {
		return []string{"A build would have to run " + o.Program + " of this image on the machine that builds, a program made by others: run = true lets it."}
	}
	lines = append(lines, "A build runs "+o.Program+" of this image on the machine that builds: a program made by others.")
	if o.KernelArgs == nil {
		lines = append(lines, "Its kernel arguments are known when it has run.")
	}
	return lines
}

func metaText(p *page, img imager.ImageDescription) {
	if len(img.Meta) == 0 {
		return
	}
	p.head("META value", "size", "reaches", "misses")
	for _, m := range img.Meta {
		p.row(texts(plain, m.Label(), amount(int64(m.Size)), kindList(m.Reaches), dash(kindList(m.Misses)))...)
	}
}

func kindList(kinds []talos.Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// reach says which outputs the kernel arguments reach, and why not others.
func reach(img imager.ImageDescription) (lines []string) {
	var in []string
	notes := map[string][]string{}
	var order []string
	for _, o := range img.Outputs {
		kind := string(o.Kind)
		if o.Cmdline != nil && !slices.Contains(in, kind) {
			in = append(in, kind)
		}
		if o.Note != nil {
			if notes[*o.Note] == nil {
				order = append(order, *o.Note)
			}
			if !slices.Contains(notes[*o.Note], kind) {
				notes[*o.Note] = append(notes[*o.Note], kind)
			}
		}
	}
	if len(in) > 0 {
		lines = append(lines, "The outputs that have them: "+strings.Join(in, ", ")+".")
	}
	for _, note := range order {
		lines = append(lines, strings.Join(notes[note], ", ")+": "+note+".")
	}
	return lines
}

func limitsText(p *page, img imager.ImageDescription) {
	if len(img.Limits) == 0 {
		return
	}
	p.head("partition", "room", "need", "full", "of")
	for _, l := range img.Limits {
		percent, s := "?", plain
		if l.Percent != nil {
			percent = fmt.Sprintf("%d %%", *l.Percent)
			switch {
			case *l.Percent > preflight.Full:
				s = red
			case *l.Percent >= preflight.NearlyFull:
				s = yellow
			default:
				s = green
			}
		}
		p.row(cell{l.Label, plain}, cell{amount(l.Room), plain}, cell{estimated(l.Need, l.Estimated), plain}, cell{percent, s}, cell{l.Holds, plain})
	}
}

func stepsText(p *page, img imager.ImageDescription) {
	if len(img.Steps) == 0 {
		return
	}
	p.head("step", "of", "state", "size", "to download")
	for _, s := range img.Steps {
		state, look := "?", plain
		if s.State != nil {
			switch state = *s.State; state {
			case imager.StateStored:
				look = green
			case imager.StateToDo:
				state, look = "to do", yellow
			}
		}
		size, download := "", "" // of what is to do nobody knows the first, and most download nothing
		if s.Size != nil {
			size = amount(*s.Size)
		}
		if s.Download == nil || *s.Download > 0 {
			download = knownBytes(s.Download)
		}
		p.row(cell{s.Name, plain}, cell{digests.ReplaceAllString(s.Of, ""), plain}, cell{state, look}, cell{size, plain}, cell{download, plain})
	}
}

// digests stand in references that were pinned; they are told elsewhere.
var digests = regexp.MustCompile("@sha256:[0-9a-f]{64}")

// workText sums up what is to be done.
func workText(w imager.WorkDescription) string {
	text := fmt.Sprintf("%s stored, %d to do", count(w.Stored, "step"), w.ToDo)
	if w.Shared > 0 {
		text += fmt.Sprintf(", %d in the profile's store", w.Shared)
	}
	if w.Unknown > 0 {
		text += fmt.Sprintf(", %d not known", w.Unknown)
	}
	return text + "; " + knownBytes(w.Download) + " to download"
}

func loader(o imager.OutputDescription) string {
	if o.Bootloader == nil && o.Kind == talos.KindDisk { // the overlay says
		return "?"
	}
	return orDash(o.Bootloader)
}

func partitions(o imager.OutputDescription) string {
	var all []string
	for _, p := range o.Partitions {
		size := "the rest"
		if p.Size != nil {
			size = amount(*p.Size)
		}
		all = append(all, p.Label+" "+size)
	}
	if o.SectorSize != nil && *o.SectorSize != talos.SectorSizes()[0] {
		all = append(all, fmt.Sprintf("in sectors of %d bytes", *o.SectorSize))
	}
	return strings.Join(all, ", ")
}

func adds(o imager.OutputDescription) string {
	var all []string
	for _, a := range o.Adds {
		if a.Origin == "meta" { // encoded, and long
			a.Arg = "META values"
		}
		all = append(all, a.Arg)
	}
	return strings.Join(all, " ")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func orDash[T string | talos.Bootloader](s *T) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprint(*s)
}

func known(s *string) string {
	if s == nil {
		return "?"
	}
	return *s
}

func knownBytes(n *int64) string {
	if n == nil {
		return "?"
	}
	return amount(*n)
}

// noneOr is a number of what most have none of.
func noneOr[T int | int64](n *T, text func(T) string) string {
	switch {
	case n == nil:
		return "?"
	case *n == 0:
		return "-"
	}
	return text(*n)
}

// estimated is a size, with a mark where it is a guess.
func estimated(n *int64, guess bool) string {
	if guess && n != nil {
		return "~" + amount(*n)
	}
	return knownBytes(n)
}

// short is a digest that can be told from others at a glance.
func short(digest string) string {
	const digits = len("sha256:") + 12
	if len(digest) > digits {
		return digest[:digits]
	}
	return digest
}
