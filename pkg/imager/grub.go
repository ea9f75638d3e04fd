package imager

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/talosmith/talosmith/pkg/grub"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// bootloader is the one that an ISO or a disk asks for, else a disk's overlay, else the default of the version and architecture.
func (t *target) bootloader(out profile.Output) talos.Bootloader {
	if out.Bootloader != "" {
		return talos.Bootloader(out.Bootloader)
	}
	if t.overlay != nil && out.Kind == talos.KindDisk && t.overlay.profile.Bootloader != "" {
		return t.overlay.profile.Bootloader
	}
	return t.Facts.Bootloader(out.Kind)
}

// bootRecipe says what the boot loader of an ISO or a disk depends on, and what it starts.
func (t *target) bootRecipe(ctx context.Context, out profile.Output) (recipe, error) {
	b := t.bootloader(out)
	r := recipe{b}
	if b != talos.SDBoot {
		r = append(r, grub.Version, grubModules)
	}
	if b != talos.GRUB {
		u, err := t.ukiRecipe(ctx, out)
		return append(r, u), err
	}
	initrd, err := t.initramfsRecipe(ctx)
	if err != nil {
		return nil, err
	}
	cmdline, err := t.cmdline(out)
	reset, _ := t.Facts.Reset(out.Kind)
	return append(r, initrd, cmdline.String(), reset, t.Facts.Tag), err
}

// checkBootloader refuses what cannot be.
func (t *target) checkBootloader(out profile.Output) error {
	if err := t.Facts.CheckBootloader(t.bootloader(out)); err != nil {
		return fmt.Errorf("image %s: %s: %w", t.Name(), out.At("bootloader"), err)
	}
	return nil
}

// grubModules are in every core image, so that no module has to be loaded from the medium: siderolabs/talos
// internal/app/machined/pkg/runtime/v1alpha1/bootloader/grub/install.go, and what an ISO needs.
var grubModules = []string{
	"part_gpt", "part_msdos", "ext2", "fat", "xfs", "iso9660", "normal", "configfile", "linux", "boot", "search", "search_fs_uuid", "search_fs_file",
	"ls", "cat", "echo", "test", "help", "reboot", "halt", "all_video",
}

// biosModules are those for BIOS.
var biosModules = append(slices.Clone(grubModules), "biosdisk")

// grubCore makes a core image and returns the directory that it is made of.
func (t *target) grubCore(ctx context.Context, f grub.Format, prefix string) ([]byte, *tree.Tree, error) {
	platform, modules := t.Facts.GRUBEFI, grubModules
	if f != grub.Format(platform) {
		platform, modules = t.Facts.GRUBBIOS, biosModules
	}
	assets, err := t.assets(ctx)
	if err != nil {
		return nil, nil, err
	}
	dir := path.Join(t.Facts.GRUBDir, platform)
	files, err := assets.Sub(dir)
	if err != nil {
		remedy := "take another registry's imager"
		if t.Facts.SDBootUEFI {
			remedy = fmt.Sprintf("write bootloader = %q, or %s", talos.SDBoot, remedy)
		}
		return nil, nil, fmt.Errorf("the imager image %s has no GRUB in /%s: %w: %s", t.Boot, dir, err, remedy)
	}
	core, err := grub.Core(files, grub.Options{Format: f, Prefix: prefix, Modules: modules})
	if err != nil {
		return nil, nil, fmt.Errorf("GRUB of %s: %w", t.Boot, err)
	}
	return core, files, nil
}

// Where GRUB finds grub.cfg when UEFI has started it: on the disk that it came from, on the medium that it came from.
const (
	diskEFIPrefix = "(,gpt3)/grub"
	isoPrefix     = "/boot/grub"
)

// grubESP lays out the files of the ESP of an output that boots through GRUB alone: GRUB and, on an ISO, all that it starts.
func (t *target) grubESP(ctx context.Context, out profile.Output) (*esp, error) {
	prefix := diskEFIPrefix
	var nodes []tree.Node
	if out.Kind == talos.KindISO {
		prefix = isoPrefix
		kernel, err := t.asset(ctx, t.Facts.Kernel)
		if err != nil {
			return nil, err
		}
		initrd, err := t.initramfs(ctx)
		if err != nil {
			return nil, err
		}
		config, err := t.isoConfig(out)
		if err != nil {
			return nil, err
		}
		nodes = []tree.Node{{Path: isoKernel, Content: kernel}, {Path: isoInitrd, Content: initrd}, {Path: isoGRUBConf, Content: config}}
	}
	core, _, err := t.grubCore(ctx, grub.Format(t.Facts.GRUBEFI), prefix)
	if err != nil {
		return nil, err
	}
	nodes = append(nodes, tree.Node{Path: path.Join(espBootDir, t.Facts.EFIBoot), Content: tree.Bytes(core)})
	for i := range nodes {
		nodes[i].Mode = 0o644
	}
	files, err := tree.New(nodes)
	if err != nil {
		return nil, err
	}
	files, err = atTime(files, t.epoch)
	return &esp{Tree: files}, err
}

// isoConfig is the grub.cfg of an ISO.
func (t *target) isoConfig(out profile.Output) (tree.Blob, error) {
	entries, err := t.grubEntries(out, talos.Name+" ISO", "/"+isoKernel, "/"+isoInitrd)
	if err != nil {
		return nil, err
	}
	config, err := grub.ISOConfig(entries...)
	return tree.Bytes(config), err
}

// grubEntries are the entries of GRUB's menu.
func (t *target) grubEntries(out profile.Output, title, kernel, initrd string) ([]grub.Entry, error) {
	cmdline, err := t.cmdline(out)
	if err != nil {
		return nil, err
	}
	entries := []grub.Entry{{Title: title, Kernel: kernel, Initrd: initrd, Cmdline: cmdline.String()}}
	if reset, ok := t.Facts.Reset(out.Kind); ok && reset.GRUBTitle != "" {
		entries = append(entries, grub.Entry{Title: reset.GRUBTitle, Kernel: kernel, Initrd: initrd, Cmdline: cmdline.String() + " " + reset.Args})
	}
	return entries, nil
}
