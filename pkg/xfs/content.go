package xfs

import (
	"fmt"

	"github.com/talosmith/talosmith/pkg/tree"
)

func (v *volume) newContent(in *rawInode) (tree.Blob, error) {
	if in.form != formExtents && in.form != formTree {
		return nil, fmt.Errorf("content of form %d: only 2 and 3 are possible here", in.form)
	}
	if in.size > v.blocks*v.block {
		return nil, fmt.Errorf("not supported: a file with holes of %d bytes is bigger than the file system", in.size)
	}
	number := in.number
	return tree.Extents(v.r, in.size, func() ([]tree.Extent, error) {
		in, err := v.readInode(number) // once more: the inodes of all files would be a lot of memory
		if err != nil {
			return nil, err
		}
		return v.readExtents(in)
	}), nil
}
