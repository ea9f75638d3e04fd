package bench

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/talosmith/talosmith/pkg/initramfs"
)

// appended is the size of what the initramfs in a folder has behind the base, but for the layer with modules.dep: the programs have none.
func (b *bench) appended(in *inputs, out string) (size float64, err error) {
	names, err := filepath.Glob(filepath.Join(cmp.Or(out, b.path("out")), "*-initramfs.xz"))
	if err != nil || len(names) != 1 {
		return 0, errors.Join(err, fmt.Errorf("want one initramfs, have %q", names))
	}
	base, err := fileSize(filepath.Join(in.dir, "base"))
	if err != nil {
		return 0, err
	}
	f, err := os.Open(names[0])
	if err != nil {
		return 0, err
	}
	defer f.Close() // was only read
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	segments, err := initramfs.Segments(f, st.Size())
	if err != nil {
		return 0, err
	}
	var begin int64 // of the base
	for _, s := range segments {
		switch first, err := firstMember(s); {
		case err != nil:
			return 0, err
		case first == "kernel": // early microcode, which is not compressed
			begin = s.Offset + s.Size
		case s.Offset >= begin+int64(base) && first != "modules.dep.sqsh":
			size += float64(s.Size)
		}
	}
	return size, nil
}

// firstMember is the path of a segment's first member.
func firstMember(s initramfs.Segment) (path string, err error) {
	err = initramfs.Walk(s, func(m initramfs.Member) error {
		path = m.Path
		return initramfs.SkipAll
	})
	return path, err
}
