package inspect

import "fmt"

// openSectors finds the sectors of a virtual disk. This is the seam for pkg/vmdisk.
func openSectors(c content, is form) (content, error) {
	if is == formVHD && fixedVHD(c) {
		return section(c, 0, c.Size()-vhdFooter), nil
	}
	return nil, fmt.Errorf("%s: not supported yet", is)
}

const vhdFooter = 512 // bytes

// fixedVHD tells a fixed VHD: the sectors of a disk, then a footer.
func fixedVHD(c content) bool {
	cookie, is := make([]byte, 8), false
	if at := c.Size() - vhdFooter; at > 0 {
		_, err := c.ReadAt(cookie, at)
		is = err == nil && string(cookie) == "conectix"
	}
	return is
}
