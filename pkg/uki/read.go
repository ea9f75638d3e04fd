package uki

import (
	"debug/pe"
	"fmt"
	"io"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// File is a UKI that was read: its sections in the file's order, the stub's included.
type File struct {
	Machine  uint16 // of the COFF header: 0x8664 amd64, 0xaa64 arm64
	Signed   bool   // it has an Authenticode signature; nobody checked it
	Sections []Section
}

// Read reads the sections of a UKI. Their contents are read from r when they are opened.
func Read(r io.ReaderAt) (*File, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read uki: %w", err)
	}
	oh, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return nil, fmt.Errorf("read uki: machine %#x is not a PE32+ image", f.Machine)
	}
	file := &File{Machine: f.Machine, Signed: oh.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size != 0}
	for _, s := range f.Sections {
		file.Sections = append(file.Sections, Section{
			Name:    s.Name,
			Content: tree.Section(r, int64(s.Offset), int64(min(s.VirtualSize, s.Size))),
		})
	}
	return file, nil
}

// Find returns the content of the first section of a name: that of the base, before any profile's.
func (f *File) Find(name string) (tree.Blob, bool) {
	for _, s := range f.Sections {
		if s.Name == name {
			return s.Content, true
		}
	}
	return nil, false
}

// BootProfile is an alternative of a UKI: what its own sections override.
type BootProfile struct {
	ID, Title string
	Sections  []Section
}

// maxText is the most that is read of a section that holds text, in bytes.
const maxText = 64 << 10

// Text returns the content of a section that holds text, up to 64 KiB.
func (f *File) Text(name string) (string, bool, error) {
	content, ok := f.Find(name)
	if !ok {
		return "", false, nil
	}
	text, err := readText(content)
	return text, true, err
}

func readText(b tree.Blob) (string, error) {
	text, err := tree.ReadSmall(b, maxText)
	if err != nil {
		return "", fmt.Errorf("read uki: a text: %w", err)
	}
	return strings.TrimRight(string(text), "\x00"), nil
}

// Profiles returns the boot profiles, the main one first. Each .profile section starts one and owns the sections behind it.
func (f *File) Profiles() ([]BootProfile, error) {
	var profiles []BootProfile
	for _, s := range f.Sections {
		if s.Name == Profile {
			text, err := readText(s.Content)
			if err != nil {
				return nil, err
			}
			p := BootProfile{}
			for line := range strings.Lines(text) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				switch key {
				case "ID":
					p.ID = value
				case "TITLE":
					p.Title = value
				}
			}
			profiles = append(profiles, p)
			continue
		}
		if len(profiles) > 0 {
			p := &profiles[len(profiles)-1]
			p.Sections = append(p.Sections, s)
		}
	}
	return profiles, nil
}
