//go:build linux

// Command board is the installer of the stand-in's overlay, for a single-board computer that does not exist. It speaks the protocol of
// package overlay as real ones do: it has kernel arguments, moves the partition table's entries behind its boot loader, writes that to the
// disk, and firmware with a configuration onto the EFI system partition. Tests let it misbehave, by an option.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Where things go.
const (
	loader       = "u-boot/board/u-boot.bin" // of the artifacts
	firmware     = "firmware/boot"           // of the artifacts
	loaderAt     = 32 << 10                  // byte of the disk
	entriesSkip  = 20480                     // sectors: 10 MiB, as Rockchip's boards
	configName   = "config.txt"
	builtInValue = "arm_64bit=1\n"
)

// options are what a profile can say.
type options struct {
	ConfigTxt string   `yaml:"configTxt"`
	Offset    *uint64  `yaml:"offset"`
	Args      []string `yaml:"kernelArgs"`
	Misbehave string   `yaml:"misbehave"`
	Address   string   `yaml:"address"` // what misbehaviours want to know
}

// answer is that to get-options.
type answer struct {
	Name             string         `yaml:"name"`
	KernelArgs       []string       `yaml:"kernelArgs,omitempty"`
	PartitionOptions map[string]any `yaml:"partitionOptions,omitempty"`
}

// request is that of install.
type request struct {
	InstallDisk   string  `yaml:"installDisk"`
	MountPrefix   string  `yaml:"mountPrefix"`
	ArtifactsPath string  `yaml:"artifactsPath"`
	ExtraOptions  options `yaml:"extraOptions"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprint(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("missing command")
	}
	in := yaml.NewDecoder(os.Stdin)
	switch args[0] {
	case "get-options":
		var o options
		if err := in.Decode(&o); err != nil {
			return err
		}
		return getOptions(o)
	case "install":
		var r request
		if err := in.Decode(&r); err != nil {
			return err
		}
		return install(r)
	case leftBehind:
		hang()
	}
	return fmt.Errorf("unknown command: %s", args[0])
}

func getOptions(o options) error {
	if strings.HasPrefix(o.Misbehave, "get-options") {
		if err := misbehave(o.Misbehave, request{ExtraOptions: o}); err != nil {
			return err
		}
	}
	a := answer{Name: "board", KernelArgs: o.Args, PartitionOptions: map[string]any{"offset": entriesSkip}}
	if a.KernelArgs == nil {
		a.KernelArgs = []string{"console=tty0", "console=ttyBOARD0,115200", "talos.dashboard.disabled=1"}
	}
	if o.Offset != nil {
		a.PartitionOptions["offset"] = *o.Offset
	}
	return yaml.NewEncoder(os.Stdout).Encode(a)
}

func install(r request) error {
	esp := filepath.Join(r.MountPrefix, "boot", "EFI")
	if err := copyDir(filepath.Join(r.ArtifactsPath, firmware), esp); err != nil {
		return err
	}
	config := r.ExtraOptions.ConfigTxt
	if config == "" {
		config = builtInValue
	}
	if err := os.WriteFile(filepath.Join(esp, configName), []byte(config), 0o600); err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(r.ArtifactsPath, loader))
	if err != nil {
		return err
	}
	disk, err := os.OpenFile(r.InstallDisk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = disk.WriteAt(content, loaderAt)
	return errors.Join(err, disk.Sync(), disk.Close(), misbehave(r.ExtraOptions.Misbehave, r))
}

// copyDir copies files, and makes directories that only root can enter, as an official installer does.
func copyDir(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o600)
		}
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		out, err := os.Create(filepath.Join(to, rel))
		if err == nil {
			_, err = io.Copy(out, in)
			err = errors.Join(err, out.Close())
		}
		return errors.Join(err, in.Close())
	})
}
