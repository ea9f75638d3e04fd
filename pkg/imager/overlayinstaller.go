package imager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Where Talos's installer looks for an overlay.
const (
	installerOverlay        = "overlay"
	installerOverlayProgram = "overlay/installers/default"
	installerOverlayOptions = "overlay/extra-options"
)

// overlayLayerRecipe says what that layer depends on.
func (t *target) overlayLayerRecipe() any {
	o := t.Target.Overlay
	if o == nil {
		return nil
	}
	return []any{overlay.Version, o.Name, o.Options, digests(o.Variants[t.Arch]), o.reference()}
}

// overlayLayer is the layer of an installer image with the overlay, for the machine's architecture; nil for none. The program is run there,
// not here. Source: pkg/imager/out.go (outInstaller) of siderolabs/talos.
func (t *target) overlayLayer(ctx context.Context) ([]ociLayer, error) {
	if t.overlay == nil {
		return nil, nil
	}
	o := t.Target.Overlay
	files, err := t.overlay.image.open(ctx, t.o.Store, t.Overlay.Target)
	if err != nil {
		return nil, err
	}
	if err := overlay.CheckProgram(files, o.Name, t.Arch); err != nil {
		return nil, fmt.Errorf("overlay %s for %s: %w", o.Name, t.Arch, err)
	}
	options, err := overlay.ExtraOptions(o.Options)
	if err != nil {
		return nil, err
	}
	program, _ := files.Lookup(overlay.InstallerPath(o.Name))
	nodes := []tree.Node{
		{Path: installerOverlayOptions, Mode: 0o644, Content: tree.Bytes(options)},
		{Path: installerOverlayProgram, Mode: program.Mode, Content: program.Content},
	}
	for n := range files.All() {
		if !strings.HasPrefix(n.Path, overlay.Artifacts+"/") {
			continue
		}
		if n.Mode.Type() == fs.ModeSymlink {
			if n, err = followed(files, n); err != nil {
				return nil, fmt.Errorf("overlay %s: %w", o.Name, err)
			}
		}
		n.Path, n.Link = path.Join(installerOverlay, n.Path), ""
		nodes = append(nodes, n)
	}
	sorted, err := tree.New(nodes)
	if err != nil {
		return nil, err
	}
	var entries []tree.Node
	for n := range sorted.All() {
		if strings.HasPrefix(n.Path, installerOverlay+"/"+overlay.Artifacts+"/") || n.Mode.IsRegular() {
			entries = append(entries, n)
		}
	}
	archive, err := tarBlob(entries, time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	l, err := newLayer(archive, "overlay "+o.Name+" of "+o.reference())
	return []ociLayer{l}, err
}

// maxLinks is how many symbolic links may lead to a file.
const maxLinks = 40

// followed is a symbolic link as the file that it leads to.
func followed(files *tree.Tree, link tree.Node) (tree.Node, error) {
	n := link
	for range maxLinks {
		to := path.Join("/", path.Dir(n.Path), n.Link)
		if path.IsAbs(n.Link) {
			to = path.Clean(n.Link)
		}
		next, ok := files.Lookup(strings.TrimPrefix(to, "/"))
		switch {
		case !ok:
			return n, fmt.Errorf("%s is a link to %s, which is not there", link.Path, link.Link)
		case next.Mode.IsDir():
			return n, fmt.Errorf("%s is a link to a directory, %s, which installer images can't have", link.Path, link.Link)
		case next.Mode.IsRegular():
			next.Path = link.Path
			return next, nil
		}
		n = next
	}
	return n, errors.New(link.Path + " is a link that leads nowhere")
}
