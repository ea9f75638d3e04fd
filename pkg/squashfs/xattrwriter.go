package squashfs

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// xattrWriter makes the table of extended attributes. A set that many inodes have is there once.
type xattrWriter struct {
	pairs *metaWriter
	ids   []byte
	known map[string]uint32 // encoded pairs to their id
}

// id returns the number of a set of attributes.
func (x *xattrWriter) id(attrs map[string][]byte) (uint32, error) {
	if len(attrs) == 0 {
		return none32, nil
	}
	var p []byte
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		prefix, rest, err := splitXattr(name)
		if err != nil {
			return 0, err
		}
		p = binary.LittleEndian.AppendUint16(p, prefix)
		p = binary.LittleEndian.AppendUint16(p, uint16(len(rest)))
		p = append(p, rest...)
		p = binary.LittleEndian.AppendUint32(p, uint32(len(attrs[name])))
		p = append(p, attrs[name]...)
	}
	if id, ok := x.known[string(p)]; ok {
		return id, nil
	}
	id := uint32(len(x.known))
	x.known[string(p)] = id
	x.ids = encode(x.ids, xattrID{Ref: x.pairs.ref(), Count: uint32(len(attrs)), Size: uint32(len(p))})
	return id, x.pairs.write(p)
}

func splitXattr(name string) (prefix uint16, rest string, err error) {
	for i, p := range xattrPrefixes {
		if rest, ok := strings.CutPrefix(name, p); ok && rest != "" {
			return uint16(i), rest, nil
		}
	}
	return 0, "", fmt.Errorf("extended attribute %q: squashfs has only %s*; remove it", name, strings.Join(xattrPrefixes, "*, "))
}

// What Linux takes (XATTR_NAME_MAX, XATTR_SIZE_MAX, XATTR_LIST_MAX).
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	maxXattrList  = 64 << 10 // all names of one inode, each with a zero byte
)

func checkXattrs(attrs map[string][]byte) error {
	list := 0
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if _, _, err := splitXattr(name); err != nil {
			return err
		}
		if len(name) > maxXattrName {
			return fmt.Errorf("extended attribute %q: the name has %d bytes, Linux takes %d", name[:20]+"…", len(name), maxXattrName)
		}
		if n := len(attrs[name]); n > maxXattrValue {
			return fmt.Errorf("extended attribute %q: the value has %d bytes, Linux takes %d", name, n, maxXattrValue)
		}
		list += len(name) + 1
	}
	if list > maxXattrList {
		return fmt.Errorf("extended attributes: the names have %d bytes, Linux takes %d", list, maxXattrList)
	}
	return nil
}
