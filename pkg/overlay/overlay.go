// Package overlay is what single-board computers need beside Talos: images with firmware and an installer, and the protocol that the
// installer speaks.
//
// # An overlay's image
//
//	installers/NAME      a static Linux program for the image's architecture; one image serves several boards
//	profiles/NAME.yaml   how the official imager is to build for the board
//	artifacts/…          firmware, boot loaders, device trees
//
// # The protocol
//
//	argument      standard input                                  standard output
//	get-options   the board's options, a YAML mapping             YAML: name, kernelArgs, partitionOptions.offset
//	install       YAML: installDisk, mountPrefix, artifactsPath,  nothing of interest
//	              extraOptions (left out where there are none)
//
// Who fails says why on standard error and exits with 1. What install does is write bytes to installDisk, a disk without partitions yet, and
// files below mountPrefix/boot/EFI, which becomes the EFI system partition. partitionOptions.offset is how many sectors the partition table's
// entries begin behind its header, to make room for those bytes.
//
// Sources: pkg/machinery/overlay and pkg/imager/overlay/executor of siderolabs/talos.
//
// # Where it runs
//
// [GetOptions] and [Install] put the files into a new directory, which a [Runner] makes the program's root as far as it can, and which is gone
// afterwards; package confine has the one that runs programs:
//
//	overlay/       the image's files
//	disk.raw       installDisk: nothing but zeros, sparse
//	mnt/boot/EFI/  mountPrefix is mnt
//	tmp/           where the program may leave what it likes
//
// [Effects] are what it wrote to the disk and to the EFI system partition. Anything else that it left is an error: it would be lost.
//
// # Not supported
//
// Kernel and initramfs below mountPrefix/boot, which the official imager has there already: no overlay looks at them.
package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/talosmith/talosmith/pkg/elfinfo"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Version is part of the keys of what is stored: raise it when what installers are given, or what is made of their work, changes.
const Version = "1"

// The folders of an overlay's image.
const (
	Installers = "installers"
	Profiles   = "profiles"
	Artifacts  = "artifacts"
)

// InstallerPath is where an image has the program for a board.
func InstallerPath(name string) string { return path.Join(Installers, name) }

// ProfilePath is where an image has the imager's profile for a board.
func ProfilePath(name string) string { return path.Join(Profiles, name+".yaml") }

// Keep tells which files of an image a board needs.
func Keep(name string) func(string) bool {
	return func(p string) bool {
		return p == InstallerPath(name) || p == ProfilePath(name) || strings.HasPrefix(p, Artifacts+"/")
	}
}

// Runner runs an overlay's installer.
type Runner interface {
	// Arch is the architecture whose programs it runs; an error where it runs none, with what to do.
	Arch() (string, error)
	// Run runs a program to its end and returns what it printed. What it can't do is kept from others: cancelling ctx ends all processes.
	Run(ctx context.Context, c Command) ([]byte, error)
}

// Command is a program to run.
type Command struct {
	// Root is the directory that becomes the program's root, where that is possible.
	Root string
	// Program is its path below Root, with slashes.
	Program string
	Arg     string
	// Stdin makes what it reads, for the path that it sees Root by: empty, or Root itself.
	Stdin func(root string) ([]byte, error)
	// MaxFile is how large a file may become, in bytes.
	MaxFile int64
}

// CheckProgram says why a board's installer can't run on an architecture, with what to do.
func CheckProgram(files *tree.Tree, name, arch string) error {
	p := InstallerPath(name)
	n, ok := files.Lookup(p)
	switch {
	case !ok || !n.Mode.IsRegular():
		return fmt.Errorf("it has no file %s", p)
	case n.Mode&0o111 == 0:
		return fmt.Errorf("%s is not executable: chmod +x it", p)
	}
	r, ok := n.Content.(io.ReaderAt)
	if !ok {
		return errors.New("an overlay's files must be readable anywhere")
	}
	info, err := elfinfo.Read(r, n.Size())
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", p, err)
	case info == nil:
		return fmt.Errorf("%s is no Linux program (ELF)", p)
	case info.Machine != arch:
		return fmt.Errorf("%s is a program for %s, and this machine is %s: build on a machine of that architecture, or with an overlay that has an installer for this one", p, info.Machine, arch)
	case info.Interp != "":
		return fmt.Errorf("%s wants %s, and there is nothing but the overlay's own files where it runs: link it statically (Go: CGO_ENABLED=0)", p, info.Interp)
	}
	return nil
}
