// Package schematic knows the schematics of the Image Factory (https://factory.talos.dev/): what a user asked for, as YAML, whose SHA-256 is
// the ID by which the Factory, Omni and machines call it.
//
// The ID is that of the bytes that the Factory's encoder writes: Marshal of go.yaml.in/yaml/v4, whose release candidates differ for rare strings.
// This module requires v4.0.0-rc.4. The Factory at 26b95cacb084 (2026-08-11) has a commit of 2026-08-09 between rc.6 and rc.7. rc.6 alone writes
// 'on' where the others write "on", which https://github.com/yaml/go-yaml/pull/380 of July mended; with that, rc.6 writes what rc.4 does. What
// rc.7 changes in literal blocks (#393, #396, #414) is younger than the Factory's commit.
//
// Source: siderolabs/image-factory pkg/schematic/schematic.go.
package schematic

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/talosmith/talosmith/pkg/talos"
)

// Schematic is what the Factory can be asked for. The order of fields, and of everything in a list, is part of the ID.
type Schematic struct {
	// Owner is known to the Enterprise edition only.
	Owner         string        `yaml:"owner,omitempty"`
	Overlay       Overlay       `yaml:"overlay,omitempty"`
	Customization Customization `yaml:"customization"`
}

// Overlay is for a single-board computer.
type Overlay struct {
	// Image is the repository without its host, "siderolabs/sbc-raspberrypi". The Factory finds the overlay by its name; the image only
	// changes the ID.
	Image string `yaml:"image"`
	Name  string `yaml:"name"`
	// Options are the overlay's own: any YAML.
	Options map[string]any `yaml:"options,omitempty"`
}

// Customization is everything else.
type Customization struct {
	EmbeddedMachineConfiguration string           `yaml:"embeddedMachineConfiguration,omitempty"`
	ExtraKernelArgs              []string         `yaml:"extraKernelArgs,omitempty"`
	Meta                         []MetaValue      `yaml:"meta,omitempty"`
	SystemExtensions             SystemExtensions `yaml:"systemExtensions,omitempty"`
	Bootloader                   Bootloader       `yaml:"bootloader,omitempty"`
	SecureBoot                   SecureBoot       `yaml:"secureboot,omitempty"`
	DiskImage                    DiskImage        `yaml:"diskImage,omitempty"`
}

// MetaValue is a value of the META partition.
type MetaValue struct {
	Key   uint8  `yaml:"key"`
	Value string `yaml:"value"`
}

// SystemExtensions are names of the official catalogue, "siderolabs/gvisor", in the order of their layers.
type SystemExtensions struct {
	OfficialExtensions []string `yaml:"officialExtensions,omitempty"`
}

// SecureBoot is for images with SecureBoot alone.
type SecureBoot struct {
	// EnrollKeys is off, manual, if-safe or force; the Factory takes anything and refuses it when it builds.
	EnrollKeys                   string `yaml:"enrollKeys,omitempty"`
	IncludeWellKnownCertificates bool   `yaml:"includeWellKnownCertificates,omitempty"`
}

// DiskImage is for disk images alone.
type DiskImage struct {
	// SectorSize in bytes; 0 stands for 512.
	SectorSize uint `yaml:"sectorSize,omitempty"`
}

// Bootloader is dual-boot, sd-boot or grub; empty, or "none" in a file, leaves the choice to Talos.
type Bootloader string

const noBootloader = "none"

// UnmarshalText takes capitals for small letters, as the Factory does.
func (b *Bootloader) UnmarshalText(text []byte) error {
	s := strings.ToLower(string(text))
	switch s {
	case noBootloader:
		s = ""
	case string(talos.DualBoot), string(talos.SDBoot), string(talos.GRUB):
	default:
		return fmt.Errorf("there is no boot loader %.100q: must be one of %s, %s, %s, %s", text, talos.DualBoot, talos.SDBoot, talos.GRUB, noBootloader)
	}
	*b = Bootloader(s)
	return nil
}

// limits of what is read. A schematic can hold a machine configuration.
var limits = talos.YAMLLimits{Bytes: 4 << 20, Keys: 1000}

// Parse reads a schematic, YAML or JSON, as strictly as the Factory, and refuses a second document, which the Factory would not read.
func Parse(file []byte) (*Schematic, error) {
	s := &Schematic{}
	if err := talos.DecodeStrictYAML(file, limits, s); err != nil {
		return nil, fmt.Errorf("read schematic: %w", err)
	}
	return s, nil
}

// Encode returns the canonical form, which the ID is the SHA-256 of.
func (s *Schematic) Encode() ([]byte, error) {
	if err := checkEncoder(); err != nil {
		return nil, err
	}
	b, err := yaml.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write schematic: %w", err)
	}
	return b, nil
}

// ID is the schematic's ID: 64 hexadecimal digits.
func (s *Schematic) ID() (string, error) {
	b, err := s.Encode()
	if err != nil {
		return "", err
	}
	return idOf(b), nil
}

func idOf(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// checkEncoder looks whether this program is built with an encoder that writes what the Factory's writes: whoever imports this module may
// require another one, and an ID that is nearly right is worse than none.
var checkEncoder = sync.OnceValue(func() error {
	b, err := yaml.Marshal([]string{"on", "{}", "a \nb", "\ta\nb"})
	if want := "- \"on\"\n- '{}'\n- \"a \\nb\"\n- |-\n  \ta\n  b\n"; err == nil && string(b) != want {
		err = errors.New("this program is built with another go.yaml.in/yaml/v4 than v4.0.0-rc.4, which writes other bytes than the Image Factory: require that version in go.mod")
	}
	return err
})
