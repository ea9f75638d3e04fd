package grub_test

import (
	"bytes"
	"debug/pe"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/grub"
)

// efiModules are upstream's modules for UEFI.
var efiModules = strings.Fields("part_gpt ext2 fat xfs normal configfile linux boot search search_fs_uuid search_fs_file ls cat echo test help reboot halt all_video")

// Programs for UEFI of GRUB 2.06, 2.12 and 2.14 are those of grub-mkimage, byte for byte.
func TestEFISameAsMkimage(t *testing.T) {
	t.Parallel()
	for suite, r := range releases(t) {
		for _, f := range []grub.Format{grub.EFIAMD64, grub.EFIARM64} {
			files := r.files(t, f)
			for name, o := range map[string]grub.Options{
				"disk":  {Format: f, Prefix: "(hd0,gpt3)/grub", Modules: efiModules},
				"iso":   {Format: f, Prefix: "()/boot/grub", Modules: []string{"iso9660"}, Config: []byte("search --file /boot/grub/grub.cfg --set root\n")},
				"empty": {Format: f},
			} {
				got, err := grub.Core(files, o)
				if err != nil {
					t.Fatal(suite, f, name, err)
				}
				if want := r.core(t, o); !bytes.Equal(got, want) {
					t.Errorf("%s %s %s: %d bytes, grub-mkimage makes %d others", suite, f, name, len(got), len(want))
				}
				p, err := pe.NewFile(bytes.NewReader(got))
				if err != nil {
					t.Fatal(suite, f, name, err)
				}
				// GRUB 2.14 cares for the attributes of memory, and says so.
				nx := p.OptionalHeader.(*pe.OptionalHeader64).DllCharacteristics&pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT != 0
				if nx != (suite == "sid") {
					t.Errorf("%s %s: compatible with memory that is not executed: %v", suite, f, nx)
				}
			}
		}
	}
}

// Every kind of relocation that GRUB knows, the global offset table among them, gives what grub-mkimage makes of it.
func TestRelocationsSameAsMkimage(t *testing.T) {
	t.Parallel()
	r := release{mkimage: []string{tooltest.Need(t, "grub-mkimage")}}
	for _, f := range []grub.Format{grub.EFIAMD64, grub.EFIARM64} {
		files, dir := efiStandIn(everyRelocation(f)), t.TempDir()
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := grub.Core(toTree(t, files), simpleEFI(f))
		if err != nil {
			t.Fatal(f, err)
		}
		if want := r.coreOf(t, dir, simpleEFI(f)); !bytes.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("%s: differs first at %#x: %#x, grub-mkimage %#x", f, i, got[i], want[i])
					break
				}
			}
			t.Errorf("%s: %d bytes, grub-mkimage makes %d", f, len(got), len(want))
		}
	}
}
