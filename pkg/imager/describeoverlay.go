package imager

import (
	"context"
	"fmt"
	"slices"

	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// OverlayDescription is what an image has for a single-board computer. Until its installer has been run, nobody knows its kernel arguments, nor
// the boot loader of disks that don't say theirs.
type OverlayDescription struct {
	Name       string   `json:"name"`
	Image      string   `json:"image"`
	Digest     string   `json:"digest"`
	From       string   `json:"from"`
	Program    string   `json:"program"` // of the image; a build runs it on the machine that builds
	Run        bool     `json:"run"`     // whether it may
	KernelArgs []string `json:"kernel_args"`
}

func (t *target) describeOverlay() *OverlayDescription {
	o := t.Target.Overlay
	if o == nil {
		return nil
	}
	d := &OverlayDescription{Name: o.Name, Image: o.reference(), Digest: o.digest(), From: o.From, Program: overlay.InstallerPath(o.Name), Run: o.Run}
	if t.overlay != nil {
		d.KernelArgs = append([]string{}, t.overlay.options.KernelArgs...)
	}
	return d
}

// anyBootloader tells whether the boot loader of an output is not known yet.
func (t *target) anyBootloader(out profile.Output) bool {
	return t.Target.Overlay != nil && t.overlay == nil && out.Kind == talos.KindDisk && out.Bootloader == ""
}

// overlay wants what a build would run of an overlay, and reads what that said before.
func (w *wanted) overlay(ctx context.Context, outputs []profile.Output) *overlayWork {
	s, o := w.t.Overlay, w.t.Target.Overlay
	if s == nil || s.Pack == nil || !o.Run || !slices.ContainsFunc(outputs, wantsOverlay) {
		return nil
	}
	var says *overlay.Profile
	var options *overlay.Options
	w.json(ctx, s.Profile, &says)
	w.json(ctx, s.Options, &options)
	work := &target{targetSteps: w.t}
	if says != nil && options != nil {
		work.overlay = &overlayWork{profile: *says, options: *options}
	}
	for _, out := range outputs {
		switch {
		case out.Kind == talos.KindInstaller && s.Target != nil:
			w.build(ctx, s.Target)
		case out.Kind == talos.KindDisk && (out.Size != 0 || !work.anyBootloader(out) && w.t.Image.ImageCache == ""): // else nobody knows the size
			w.build(ctx, s.install(o, w.t.runner, work.diskSize(out)))
		}
	}
	return work.overlay
}

func (d *ImageDescription) overlayItems() (list []inspect.Item) {
	if o := d.Overlay; o != nil {
		list = append(list, inspect.Item{Name: o.Name, Value: fmt.Sprintf("%s, %s", o.From, o.Digest)})
		if o.Run {
			list = append(list, inspect.Item{Name: "run", Value: o.Program})
		}
	}
	return list
}

// overlay compares what two images have for single-board computers.
func (d *planDiff) overlay(name string, from, to ImageDescription) {
	s := inspect.Compare("", from.overlayItems(), to.overlayItems())
	d.section("overlay", name, s)
	for _, c := range s.Changes {
		switch {
		case c.Name == "run" && c.Change == inspect.Added:
			d.say(addsExtension, "this allows to run "+c.To+" on the machine that builds", " for ", name)
		case c.Name == "run":
		case c.Change == inspect.Removed:
			d.say(removesExtension, "this removes the overlay "+c.Name, " from ", name)
		case c.Change == inspect.Added:
			d.say(addsExtension, "this adds the overlay "+c.Name, " to ", name)
		default:
			d.say(changesExtension, "this changes the overlay "+c.Name, " of ", name)
		}
	}
}
