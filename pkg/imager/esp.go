package imager

import (
	"context"
	"fmt"
	"io/fs"
	"path"

	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/uki"
)

// Where systemd-boot looks on an ESP.
const (
	espUKIDir    = "EFI/Linux"
	espBootDir   = "EFI/BOOT"
	espLoader    = "loader/loader.conf"
	espLabel     = "EFI"
	loaderConfig = "# systemd-boot configuration\n\ntimeout 10\n"
)

// esp is the content of an EFI system partition, and the UKI in it, if there is one.
type esp struct {
	*tree.Tree
	ukiPath string
	uki     *uki.Image
	places  ukiPlaces
}

// esp lays out the files of the ESP of an output: systemd-boot, its configuration and the UKI; or GRUB.
func (t *target) esp(ctx context.Context, out profile.Output) (*esp, error) {
	if t.bootloader(out) == talos.GRUB {
		return t.grubESP(ctx, out)
	}
	boot, err := t.asset(ctx, t.Facts.SDBoot)
	if err != nil {
		return nil, err
	}
	e := &esp{ukiPath: path.Join(espUKIDir, t.Facts.UKIName())}
	if e.uki, e.places, err = t.uki(ctx, out); err != nil {
		return nil, err
	}
	config := loaderConfig
	if out.Kind == talos.KindISO {
		config += "\nsecure-boot-enroll off\n"
	}
	files, err := tree.New([]tree.Node{
		{Path: path.Join(espBootDir, t.Facts.EFIBoot), Mode: 0o644, Content: boot},
		{Path: e.ukiPath, Mode: 0o644, Content: e.uki.Blob},
		{Path: espLoader, Mode: 0o644, Content: tree.String(config)},
		{Path: "loader", Mode: fs.ModeDir | 0o755},
	})
	if err != nil {
		return nil, err
	}
	e.Tree, err = atTime(files, t.epoch)
	return e, err
}

// size is that of all files in bytes.
func (e *esp) size() (n int64) {
	for f := range e.All() {
		n += f.Size()
	}
	return n
}

// plan lays the file system out, and says what takes the room where it is too small.
func (e *esp) plan(o fat.Options) (*fat.Image, error) {
	image, err := fat.Plan(e.Tree, o)
	if err == nil {
		return image, nil
	}
	least, err2 := fat.MinSize(e.Tree, o)
	if err2 != nil || least <= o.Size || e.uki == nil {
		return nil, fmt.Errorf("EFI system partition: %w", err)
	}
	return nil, fmt.Errorf("EFI system partition of %s: too small for %s of %s, it would take %s", size(o.Size), e.ukiPath, size(e.uki.Size()), size(least))
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
