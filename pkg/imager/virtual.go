package imager

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"time"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/tree"
)

// virtual is an extension that nobody ships: the profile says what is in it. Its layer is made when it is needed and never kept in the
// store, since it can have secrets.
type virtual struct {
	extension.Metadata
	nodes []tree.Node // below the root, of files; folders are added
}

// virtuals are an image's, in the order of their layers.
func (t Target) virtuals() (all []virtual) {
	if t.Schematic != nil {
		all = append(all, t.Schematic.virtual(t.Facts))
	}
	if t.Image.EmbeddedConfig != "" {
		all = append(all, embeddedConfig(t.Image.EmbeddedConfig))
	}
	return all
}

// embeddedConfig has a machine configuration where Talos looks for one: siderolabs/talos pkg/imager/embed.go.
func embeddedConfig(config string) virtual {
	sum := sha256.Sum256([]byte(config))
	v := virtual{Metadata: extension.Metadata{
		Name: "embedded-config", Version: hex.EncodeToString(sum[:]), Author: "Imager", Description: "Virtual extension which embeds the machine configuration.",
	}}
	v.Compatibility.Talos.Version = ">= 1.0.0"
	v.nodes = []tree.Node{{
		Path: "usr/local/etc/talos/config.yaml", Mode: 0o400, Content: tree.String(config),
		Xattrs: map[string][]byte{"security.selinux": []byte("system_u:object_r:system_state_t:s0")},
	}}
	return v
}

// squashfs makes the layer.
func (v virtual) squashfs(o squashfs.Options, at time.Time) (tree.Blob, error) {
	nodes := append([]tree.Node{{Path: tree.Root, Mode: fs.ModeDir | 0o755}}, v.nodes...)
	files, err := tree.New(nodes)
	if err != nil {
		return nil, err
	}
	if files, err = atTime(files, at); err != nil {
		return nil, err
	}
	o.ModTime = at
	var image memory
	size, err := squashfs.Write(&image, files, o)
	if err != nil {
		return nil, err
	}
	return tree.Bytes(image[:size]), nil
}

// memory is a file that is not on a disk.
type memory []byte

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if grow := int(off) + len(p) - len(*m); grow > 0 {
		*m = append(*m, make([]byte, grow)...)
	}
	return copy((*m)[off:], p), nil
}
