package imager

import (
	"context"
	"fmt"
	"path"

	"github.com/talosmith/talosmith/pkg/grub"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// bootloader is the one that an ISO or a disk asks for, else the default of the version and architecture.
func (t *target) bootloader(out profile.Output) talos.Bootloader {
	if out.Bootloader != "" {
		return talos.Bootloader(out.Bootloader)
	}
	return t.Facts.Bootloader(out.Kind, false)
}

// checkBootloader refuses what cannot be.
func (t *target) checkBootloader(out profile.Output) error {
	b := t.bootloader(out)
	err := t.Facts.CheckBootloader(b, false)
	if err == nil && b == talos.GRUB {
		err = fmt.Errorf("boot loader %q alone is not supported: Talos %s needs it, %s and later have others", b, t.Facts.Version, "v1.10")
	}
	if err != nil {
		return fmt.Errorf("image %s: %s: %w", t.Name(), out.At("bootloader"), err)
	}
	return nil
}

// grubModules are in every core image, so that no module has to be loaded from the medium: siderolabs/talos
// internal/app/machined/pkg/runtime/v1alpha1/bootloader/grub/install.go, and what an ISO needs.
var grubModules = []string{
	"part_gpt", "part_msdos", "ext2", "fat", "xfs", "iso9660", "normal", "configfile", "linux", "boot", "search", "search_fs_uuid", "search_fs_file",
	"ls", "cat", "echo", "test", "help", "reboot", "halt", "all_video", "biosdisk",
}

// grubFiles is the directory with GRUB's images and modules for BIOS.
func (t *target) grubFiles(ctx context.Context) (*tree.Tree, error) {
	assets, err := t.assets(ctx)
	if err != nil {
		return nil, err
	}
	dir := path.Join(t.Facts.GRUBDir, t.Facts.GRUBBIOS)
	files, err := assets.Sub(dir)
	if err != nil {
		return nil, fmt.Errorf("image %s: the imager image %s has no GRUB for BIOS in /%s: %w: write bootloader = %q, or take another registry's imager",
			t.Name(), t.Boot, dir, err, talos.SDBoot)
	}
	return files, nil
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
