package imager

import (
	"cmp"

	"github.com/klauspost/compress/zstd"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/talos"
)

// effort is how things are compressed that are compressed once for ever. docs/store.md has what each takes and gives.
type effort struct {
	level     zstd.EncoderLevel // of squashfs images and firmware
	thrifty   bool              // of squashfs images
	blockSize int               // of squashfs images, in bytes
	window    int               // of firmware, in bytes: the kernel needs as much memory when it unpacks it

	// Memory that compressing takes, in bytes: an image, for each core; firmware.
	squashfsMemory, firmwareMemory int64
}

// efforts by their names. Levels between these give nothing: the best but one takes twice the time of the default one for 3 % less,
// and larger blocks are not allowed.
var efforts = map[string]effort{
	profile.EffortFast:     {zstd.SpeedDefault, false, squashfs.DefaultBlockSize, 8 << 20, 8 << 20, 32 << 20},
	profile.EffortBalanced: {zstd.SpeedBestCompression, true, squashfs.DefaultBlockSize, 8 << 20, 50 << 20, 64 << 20},
	profile.EffortSmall:    {zstd.SpeedBestCompression, false, 1 << 20, 32 << 20, 44 << 20, 128 << 20},
}

// effortOf a profile.
func effortOf(p *profile.Profile) effort {
	return efforts[cmp.Or(p.Talos.Effort, profile.EffortBalanced)]
}

// squashfsWorkers are how many goroutines an image can use.
const squashfsWorkers = 8

func (e effort) squashfs(f talos.Facts) squashfs.Options {
	o := squashfs.Options{Compression: squashfs.Compression(f.Compression), BlockSize: e.blockSize}
	if o.Compression == squashfs.ZSTD {
		o.Level, o.Thrifty = int(e.level), e.thrifty
	}
	return o
}

// squashfsParams are the options that bytes depend on.
func squashfsParams(o squashfs.Options) any {
	return []any{squashfs.Version, o.Compression, o.Level, o.Thrifty, o.BlockSize, o.ModTime.Unix()}
}
