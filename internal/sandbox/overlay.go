package sandbox

import (
	"context"
	"fmt"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// The stand-in's overlay has the name of an official one; its program is ours (command board), its firmware nothing that boots.
const (
	boardName    = "rpi_generic"
	boardImage   = namespace + "sbc-raspberrypi"
	boardVersion = "v0.2.0"
)

// OverlayTree is the overlay image of a board with a program, as upstream's are.
func OverlayTree(board string, program tree.Blob, bootloader string) (*tree.Tree, error) {
	var f files
	f.blob("installers/"+board, 0o755, program)
	f.text("profiles/"+board+".yaml", "arch: arm64\nplatform: metal\nsecureboot: false\noutput:\n  kind: image\n  outFormat: .xz\n"+
		"  imageOptions:\n    diskSize: 1306525696\n    diskFormat: raw\n    bootloader: "+bootloader+"\n")
	f.text("artifacts/arm64/README", "not for the board\n")
	f.text("artifacts/firmware/boot/start4.elf", strings.Repeat("firmware ", 5000))
	f.text("artifacts/firmware/boot/overlays/disable-bt.dtbo", "device tree\n")
	f.text("artifacts/u-boot/board/u-boot.bin", strings.Repeat("u-boot!!", 4000)+strings.Repeat("\x00", 2048)+"its end\n")
	f.link("artifacts/u-boot/latest.bin", "board/u-boot.bin")
	return f.tree()
}

// overlayImages have the stand-in's overlay, for each architecture that builds or is installed.
func overlayImages(ctx context.Context, scratch string) (all []image, err error) {
	for _, arch := range []string{"amd64", "arm64"} {
		program, err := Board(ctx, scratch, arch)
		if err != nil {
			return nil, err
		}
		t, err := OverlayTree(boardName, program, "grub")
		if err != nil {
			return nil, err
		}
		all = append(all, image{repository: boardImage, tag: boardVersion, arch: arch, layers: []imageLayer{{files: t}}})
	}
	return all, nil
}

// overlayCatalogue is the list of the release's overlays.
func overlayCatalogue(version string, overlay published) (image, error) {
	i := image{repository: namespace + "overlays", tag: version, arch: "amd64"} // as that of extensions
	var f files
	f.text("overlays.yaml", fmt.Sprintf("overlays:\n  - name: %s\n    image: ghcr.io/%s:%s\n    digest: %s\n",
		boardName, overlay.Repository, overlay.Tag, overlay.Manifests[0].Digest))
	return i.with(imageLayer{}, &f)
}
