package kmod

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Module is what one module file says.
type Module struct {
	// Path is relative to the release directory: kernel/fs/btrfs/btrfs.ko.xz.
	Path string
	// Name is the file's name without extension, with - as _: what modprobe calls the module.
	Name string
	// Arch is amd64 or arm64.
	Arch string
	// Vermagic has the kernel release and options that the module was built for; it has to be the kernel's own.
	Vermagic string `json:",omitempty"`
	// Depends are the modules that the build found to be needed. depmod computes its own from symbols.
	Depends []string `json:",omitempty"`
	// Aliases are patterns of devices, file systems, … for which the module is loaded.
	Aliases []string `json:",omitempty"`
	// Softdeps are modules to load before or after, if they are there: "pre: a b post: c".
	Softdeps []string `json:",omitempty"`
	// Weakdeps are modules that may be loaded later, so that an initramfs ought to have them.
	Weakdeps []string `json:",omitempty"`
	// Firmware are files that the module may ask for, relative to the firmware directory.
	Firmware []string `json:",omitempty"`
	// Exports are symbols that other modules may use.
	Exports []Symbol `json:",omitempty"`
	// Imports are symbols that the kernel or other modules must have, in the order of the symbol table; then those that only
	// the version table names, as module_layout.
	Imports []Symbol `json:",omitempty"`
	// Signature is nil for an unsigned module.
	Signature *Signature `json:",omitempty"`
}

// Symbol is a symbol that a module exports or imports. As text and in JSON it is its name, then "0123abcd" with a CRC, then "weak" for a
// weak one, with spaces between.
type Symbol struct {
	Name string
	// CRC is the checksum of the symbol's type; both sides must agree. It means something where HasCRC is set.
	CRC    uint32
	HasCRC bool
	// Weak is set for an import that may be missing.
	Weak bool
}

const weak = " weak"

// String returns the symbol as in JSON.
func (s Symbol) String() string {
	text := s.Name
	if s.HasCRC {
		text += fmt.Sprintf(" %08x", s.CRC)
	}
	if s.Weak {
		text += weak
	}
	return text
}

// MarshalText implements [encoding.TextMarshaler].
func (s Symbol) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Symbol) UnmarshalText(text []byte) error {
	rest, isWeak := strings.CutSuffix(string(text), weak)
	name, crc, hasCRC := strings.Cut(rest, " ")
	*s = Symbol{Name: name, HasCRC: hasCRC, Weak: isWeak}
	if !hasCRC {
		return nil
	}
	v, err := strconv.ParseUint(crc, 16, 32)
	if err != nil {
		return fmt.Errorf("parse symbol %q: the CRC is no 32-bit hexadecimal number", text)
	}
	s.CRC = uint32(v)
	return nil
}

// Signature says who signed a module; it is not verified.
type Signature struct {
	// Signer is the common name of the certificate's issuer. Empty where the signature names only a key.
	Signer string `json:",omitempty"`
	// KeyID is the certificate's serial number, or else the subject key identifier: hexadecimal bytes as modinfo prints them, "01:AB".
	KeyID string
	// Hash is the digest algorithm, as "sha256".
	Hash string
}

// Merge lays scans over each other: of the same path, the module of the last one stays. The result is in tree order.
func Merge(scans ...[]Module) []Module {
	byPath := map[string]Module{}
	for _, scan := range scans {
		for _, m := range scan {
			byPath[m.Path] = m
		}
	}
	all := make([]Module, 0, len(byPath))
	for _, m := range byPath {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Module) int { return tree.Compare(a.Path, b.Path) })
	return all
}
