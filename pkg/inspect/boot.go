package inspect

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/uki"
)

// boot is something that starts a kernel. The first one is what the report's summary tells of.
type boot struct {
	kernel, initrd       tree.Blob
	kernelSum, initrdSum string // SHA-256, if known
	cmdline              string
	release              string // of the kernel
	talos                string // version
	arch                 string
}

// openPE opens what firmware starts: a UKI, a kernel, a boot loader.
func (a *Artefact) openPE(ctx context.Context, c content) error {
	if kernelArch(c) != "" {
		a.Report.Kind = KindKernel
		return a.addKernel(ctx, c)
	}
	f, err := uki.Read(c)
	if err != nil {
		return err
	}
	if _, ok := f.Find(uki.Linux); ok {
		a.Report.Kind = KindUKI
		return a.addUKI(ctx, "", c)
	}
	a.Report.Kind = KindLoader
	return a.addLoader(ctx, "", c)
}

// kernelArch tells the architecture of a kernel by its header; empty for what is none.
func kernelArch(r io.ReaderAt) string {
	b, err := head(r, 0x210)
	if err != nil || sniff(b) != formKernel {
		return ""
	}
	if string(b[4:8]) != "zimg" {
		if bytes.HasPrefix(b[0x38:], []byte("ARM\x64")) {
			return talos.ARM64
		}
		return talos.AMD64
	}
	if f, err := pe.NewFile(r); err == nil {
		return machine(f.Machine)
	}
	return ""
}

func machine(coff uint16) string {
	switch coff {
	case pe.IMAGE_FILE_MACHINE_AMD64:
		return talos.AMD64
	case pe.IMAGE_FILE_MACHINE_ARM64:
		return talos.ARM64
	}
	return fmt.Sprintf("machine %#x", coff)
}

func (a *Artefact) addKernel(ctx context.Context, kernel tree.Blob) error {
	c, err := a.readerAt(ctx, kernel)
	if err != nil {
		return err
	}
	release, err := uki.KernelRelease(c)
	if err != nil {
		return err
	}
	a.addBoot(boot{kernel: c, release: release, arch: kernelArch(c)})
	return nil
}

// addBoot adds something that starts a kernel.
func (a *Artefact) addBoot(b boot) { a.boots = append(a.boots, b) }

// addUKI adds a UKI. The same one at another place is not added again.
func (a *Artefact) addUKI(ctx context.Context, name string, c content) error {
	f, err := uki.Read(c)
	if err != nil {
		return err
	}
	u := UKI{Size: c.Size(), Signed: f.Signed, Sections: []UKISection{}}
	if name != "" {
		u.Paths = []string{name}
	}
	profiles, err := f.Profiles()
	if err != nil {
		return err
	}
	profile, n := "", 0
	for _, s := range f.Sections {
		if s.Name == uki.Profile {
			profile = profiles[n].ID
			u.Profiles = append(u.Profiles, profile)
			n++
		}
		sum, err := a.digest(ctx, s.Content)
		if err != nil {
			return fmt.Errorf("section %s: %w", printable(s.Name), err)
		}
		u.PCRs = u.PCRs || s.Name == uki.PCRSig
		u.Sections = append(u.Sections, UKISection{Name: s.Name, Profile: profile, Size: s.Content.Size(), SHA256: sum})
	}
	for i, other := range a.Report.UKIs {
		if other.Signed == u.Signed && slices.Equal(other.Sections, u.Sections) {
			a.Report.UKIs[i].Paths = append(other.Paths, u.Paths...)
			return nil
		}
	}
	_, u.Stub = loaderInfo(f)
	a.Report.UKIs = append(a.Report.UKIs, u)
	a.addPart(numbered("uki", len(a.Report.UKIs), ".efi"), c)
	return a.addUKIBoot(f, profiles, u)
}

// addUKIBoot adds what a UKI starts: an entry for each profile.
func (a *Artefact) addUKIBoot(f *uki.File, profiles []uki.BootProfile, u UKI) error {
	base := uki.File{Sections: f.Sections}
	if i := slices.IndexFunc(f.Sections, func(s uki.Section) bool { return s.Name == uki.Profile }); i >= 0 {
		base.Sections = f.Sections[:i]
	}
	text := func(name string, p *uki.BootProfile) string {
		sections := base
		if p != nil {
			sections.Sections = append(slices.Clone(p.Sections), base.Sections...) // a profile's own section hides the base's
		}
		text, _, err := sections.Text(name)
		if err != nil {
			a.problem("UKI section %s: %v", name, err)
		}
		return strings.TrimRight(text, "\n\x00")
	}
	if len(profiles) == 0 {
		profiles = []uki.BootProfile{{}}
	}
	main := &profiles[0]
	b := boot{
		cmdline: text(uki.Cmdline, main), release: text(uki.Uname, main), talos: osReleaseVersion(text(uki.OSRel, main)), arch: machine(f.Machine),
	}
	b.kernel, _ = f.Find(uki.Linux)
	b.initrd, _ = f.Find(uki.Initrd)
	b.kernelSum, b.initrdSum = u.sum(uki.Linux), u.sum(uki.Initrd)
	for i := range profiles {
		p := &profiles[i]
		a.Report.Entries = append(a.Report.Entries, Entry{
			Loader: "uki", ID: p.ID, Title: p.Title, Default: i == 0, Cmdline: text(uki.Cmdline, p),
		})
	}
	if len(a.Report.UKIs) == 1 {
		for _, p := range []struct{ section, file string }{
			{uki.OSRel, "os-release"}, {uki.Splash, "splash.bmp"}, {uki.PCRPKey, "pcrpkey.pem"}, {uki.PCRSig, "pcrsig.json"},
		} {
			if content, ok := f.Find(p.section); ok {
				a.addPart(p.file, content)
			}
		}
	}
	if b.release == "" && b.kernel != nil {
		release, err := uki.KernelRelease(b.kernel)
		if err != nil {
			a.problem("UKI: %v", err)
		}
		b.release = release
	}
	a.addBoot(b)
	return nil
}

// sum is the hash of a base section.
func (u UKI) sum(name string) string {
	for _, s := range u.Sections {
		if s.Name == name && s.Profile == "" {
			return s.SHA256
		}
	}
	return ""
}

// osReleaseVersion is VERSION_ID of an os-release file: os-release(5).
func osReleaseVersion(text string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_ID="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}

// addLoader adds a boot loader's file for UEFI.
func (a *Artefact) addLoader(ctx context.Context, name string, b tree.Blob) error {
	c, err := a.readerAt(ctx, b)
	if err != nil {
		return err
	}
	f, err := uki.Read(c)
	if err != nil {
		return err
	}
	l := Loader{Name: "efi", Firmware: "uefi", Signed: f.Signed}
	if l.Content, err = a.file(ctx, name, c); err != nil {
		return err
	}
	switch program, version := loaderInfo(f); {
	case program == "systemd-boot":
		l.Name, l.Version = string(talos.SDBoot), version
	case program != "":
		l.Name, l.Version = program, version
	default:
		if _, ok := f.Find("mods"); ok { // where grub-mkimage puts modules
			l.Name, l.Version = string(talos.GRUB), sbatVersion(f, "grub")
		}
	}
	if a.Report.Architecture == "" {
		a.Report.Architecture = machine(f.Machine)
	}
	a.addLoaderEntry(l, c)
	return nil
}

// addLoaderEntry adds a loader; the same one at another place is not added again.
func (a *Artefact) addLoaderEntry(l Loader, c tree.Blob) {
	for _, other := range a.Report.Loaders {
		if other.Name == l.Name && other.Firmware == l.Firmware && other.SHA256 == l.SHA256 {
			return
		}
	}
	a.Report.Loaders = append(a.Report.Loaders, l)
	if l.Name != "efi" && !slices.Contains(a.Report.Bootloaders, l.Name) {
		a.Report.Bootloaders = append(a.Report.Bootloaders, l.Name)
	}
	if c != nil {
		a.addPart(numbered(l.Name, 1, ".efi"), c)
	}
}

// loaderInfo is what systemd's programs say of themselves, in the section .sdmagic: "#### LoaderInfo: systemd-boot 257.13 ####".
func loaderInfo(f *uki.File) (program, version string) {
	text, _, err := f.Text(".sdmagic")
	if err != nil {
		return "", ""
	}
	words := strings.Fields(text)
	if len(words) >= 4 && words[1] == "LoaderInfo:" {
		return words[2], words[3]
	}
	return "", ""
}

// sbatVersion is a component's version in the section .sbat: https://github.com/rhboot/shim/blob/main/SBAT.md.
func sbatVersion(f *uki.File, component string) string {
	text, _, err := f.Text(uki.SBAT)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if fields := strings.Split(line, ","); len(fields) >= 5 && fields[0] == component {
			return fields[4]
		}
	}
	return ""
}

// grubInMBR tells GRUB's boot code in a disk's first sector by the messages that it has.
func grubInMBR(sector []byte) bool {
	return len(sector) >= 512 && binary.LittleEndian.Uint16(sector[510:]) == 0xaa55 && bytes.Contains(sector[:440], []byte("GRUB \x00Geom\x00"))
}

func numbered(name string, n int, suffix string) string {
	if n > 1 {
		name = fmt.Sprintf("%s-%d", name, n)
	}
	return name + suffix
}
