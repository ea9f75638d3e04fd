package imager

import (
	"context"
	"fmt"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/uki"
)

// mainProfile is the ID of the boot profile that starts Talos.
const mainProfile = "main"

// cmdline composes the kernel command line of an output.
func (t *target) cmdline(out profile.Output) (talos.Cmdline, error) {
	in := talos.CmdlineInput{Kind: out.Kind, Meta: t.Image.MetaOf(out), Overlay: t.overlayArgs()}
	for _, a := range t.Image.KernelArgs {
		in.Extra = append(in.Extra, talos.ExtraArg{Value: a.Value, Origin: fmt.Sprintf("%s:%d", a.Range.Filename, a.Range.Start.Line)})
	}
	c, err := t.Facts.Cmdline(in)
	if err != nil {
		return c, fmt.Errorf("image %s: kernel command line: %w", t.Name(), err)
	}
	return c, nil
}

// ukiRecipe says what the UKI of an output depends on.
func (t *target) ukiRecipe(ctx context.Context, out profile.Output) (recipe, error) {
	initrd, err := t.initramfsRecipe(ctx)
	if err != nil {
		return nil, err
	}
	cmdline, err := t.cmdline(out)
	if err != nil {
		return nil, err
	}
	reset, _ := t.Facts.Reset(out.Kind)
	splash, err := t.splashRecipe()
	if err != nil {
		return nil, err
	}
	return recipe{"uki", uki.Version, initrd, t.epoch.Unix(), cmdline.String(), reset, t.Facts.UKIProfiles, t.Facts.Name, t.Facts.Tag, splash}, nil
}

// ukiPlaces tells where two sections are in the list that uki makes, and what they hold.
type ukiPlaces struct {
	linux, initrd     int
	kernel, initramfs tree.Blob
}

// uki assembles the UKI of an output: siderolabs/talos internal/pkg/uki. The places are indexes for [uki.Image.Offset].
func (t *target) uki(ctx context.Context, out profile.Output) (*uki.Image, ukiPlaces, error) {
	var places ukiPlaces
	stub, err := t.asset(ctx, t.Facts.SDStub)
	if err != nil {
		return nil, places, err
	}
	kernel, err := t.asset(ctx, t.Facts.Kernel)
	if err != nil {
		return nil, places, err
	}
	initrd, err := t.initramfs(ctx)
	if err != nil {
		return nil, places, err
	}
	cmdline, err := t.cmdline(out)
	if err != nil {
		return nil, places, err
	}
	splash, err := t.splash(ctx)
	if err != nil {
		return nil, places, err
	}
	var sections []uki.Section
	add := func(name string, content tree.Blob) int {
		sections = append(sections, uki.Section{Name: name, Content: content})
		return len(sections) - 1
	}
	add(uki.OSRel, tree.String(uki.OSRelease(t.Facts.Name, t.Facts.Tag)))
	add(uki.Cmdline, tree.String(cmdline.String()))
	if t.facts.Release != "" {
		add(uki.Uname, tree.String(t.facts.Release))
	}
	if splash != nil {
		add(uki.Splash, splash)
	}
	places = ukiPlaces{add(uki.Linux, kernel), add(uki.Initrd, initrd), kernel, initrd}
	if t.Facts.UKIProfiles {
		add(uki.Profile, tree.String(uki.ProfileText(mainProfile, "")))
		if reset, ok := t.Facts.Reset(out.Kind); ok {
			add(uki.Profile, tree.String(uki.ProfileText(reset.ID, reset.Title)))
			add(uki.Cmdline, tree.String(cmdline.String()+" "+reset.Args))
		}
	}
	image, err := uki.Assemble(stub, sections, t.epoch)
	if err != nil {
		return nil, places, fmt.Errorf("image %s: %w", t.Name(), err)
	}
	return image, places, nil
}

// splash is the picture that the stub shows: the profile's, else Talos's, else nil.
func (t *target) splash(ctx context.Context) (tree.Blob, error) {
	if t.Image.Splash == "" {
		if !t.facts.Splash {
			t.noSplash.Do(func() {
				t.o.note("no boot splash is known in /%s of %s for %s, so UKIs show none; splash = \"FILE.bmp\" gives an image one",
					installerPaths[len(installerPaths)-1], t.Boot, t.Arch)
			})
			return nil, nil
		}
		return t.asset(ctx, splashPath)
	}
	b, err := tree.File(t.Image.Splash)
	if err == nil {
		err = uki.CheckBMP(b)
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: splash %s: %w", t.Name(), t.Image.Splash, err)
	}
	return b, nil
}

func (t *target) splashRecipe() (any, error) {
	if t.Image.Splash == "" {
		return t.facts.Splash, nil
	}
	b, err := tree.File(t.Image.Splash)
	if err != nil {
		return nil, fmt.Errorf("image %s: splash: %w", t.Name(), err)
	}
	return tree.SHA256(b)
}
