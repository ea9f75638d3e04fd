package source

// Limits bound what an image may make us do. A zero field means the default, which is far above what Talos's own images need.
type Limits struct {
	Layers   int   // layers of one image; 512
	Entries  int   // files, directories and links, over all layers; 1,000,000
	Bytes    int64 // uncompressed bytes of all layers together, and the largest compressed layer; 32 GiB
	Metadata int64 // bytes of paths, link targets and extended attributes over all layers; 64 MiB
	Path     int   // bytes of one path or link target, as Linux's PATH_MAX; 4096
	Depth    int   // nested directories; 128
	Ratio    int64 // how many times larger than compressed a layer of over 256 MiB may be; 250
}

const (
	maxName       = 255       // bytes of one element of a path, as Linux's NAME_MAX
	maxXattr      = 64 << 10  // bytes of one attribute's value, as Linux's XATTR_SIZE_MAX
	maxLinkHops   = 40        // symbolic links followed for one path, as Linux's MAXSYMLINKS
	ratioFreeSize = 256 << 20 // uncompressed bytes below which no compression ratio is suspicious
	maxDocument   = 4 << 20   // bytes of a manifest, an index or a config, as registries' own limit
)

func (l Limits) withDefaults() Limits {
	set(&l.Layers, 512)
	set(&l.Entries, 1_000_000)
	set(&l.Bytes, 32<<30)
	set(&l.Metadata, 64<<20)
	set(&l.Path, 4096)
	set(&l.Depth, 128)
	set(&l.Ratio, 250)
	return l
}

func set[T int | int64](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}
