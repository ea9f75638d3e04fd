// Package targets are the mage targets for those who build Talos images. Another repository has them by importing the package in
// its own magefile, below a line with "//mage:import".
package targets

import (
	"context"
	"errors"

	"github.com/talosmith/talosmith/internal/cli"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/talos"
)

// ISO builds the ISO images that the profile declares.
func ISO(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{Kinds: []talos.Kind{talos.KindISO}})
}

// Disk builds the disk images that the profile declares.
func Disk(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{Kinds: []talos.Kind{talos.KindDisk}})
}

// Installer builds the installer images that the profile declares; it pushes nothing.
func Installer(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{Kinds: []talos.Kind{talos.KindInstaller}})
}

// Push builds the installer images, uploads them to the tags that the profile gives, and prints how to install them.
func Push(ctx context.Context, profile, image, out *string, locked *bool) error {
	return flags{profile, image, out, locked}.session(func(s *cli.Session) error { return s.Push(ctx) })
}

// UKI builds the unified kernel image of every image, declared as an output or not.
func UKI(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{Kinds: []talos.Kind{talos.KindUKI}, Undeclared: true})
}

// Initramfs builds the initramfs of every image, declared as an output or not.
func Initramfs(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{Kinds: []talos.Kind{talos.KindInitramfs}, Undeclared: true})
}

// Kernel writes the kernel of every image, declared as an output or not.
func Kernel(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{Kinds: []talos.Kind{talos.KindKernel}, Undeclared: true})
}

// Cmdline writes the kernel command line of every image, declared as an output or not.
func Cmdline(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{Kinds: []talos.Kind{talos.KindCmdline}, Undeclared: true})
}

// PXE builds the iPXE scripts that the profile declares, and what they load.
func PXE(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{Kinds: []talos.Kind{talos.KindPXE}})
}

// All builds every output that the profile declares.
func All(ctx context.Context, profile, image, out *string, locked *bool) error {
	return build(ctx, flags{profile, image, out, locked}, imager.Request{})
}

// flags are those of every target that builds.
type flags struct {
	profile, image, out *string
	locked              *bool
}

func build(ctx context.Context, f flags, req imager.Request) error {
	return f.session(func(s *cli.Session) error {
		_, err := s.Build(ctx, req)
		return err
	})
}

func (f flags) session(use func(*cli.Session) error) error {
	s, err := cli.Open(cli.Options{Profile: value(f.profile), Image: value(f.image), Out: value(f.out), Locked: f.locked})
	if err != nil {
		return err
	}
	return errors.Join(use(s), s.Close())
}

func value(flag *string) string {
	if flag == nil {
		return ""
	}
	return *flag
}
