package ext4

const (
	magicSuper = 0xef53

	// Features that a kernel may ignore, …
	featAttributes = 0x8  // extended attributes: none are here, but there may be
	featIndex      = 0x20 // directories may have an index
	// … that it has to know, …
	featFileType = 0x2 // entries of directories say the file's type
	featExtents  = 0x40
	feat64       = 0x80 // descriptors of 64 bytes
	// … and that it has to know to write.
	featSparse    = 0x1  // not every group has a superblock
	featLarge     = 0x2  // files may have 2 GiB and more
	featHuge      = 0x8  // files may have 2^32 sectors and more
	featManyDirs  = 0x20 // directories with an index may have more subdirectories than can be counted
	featExtraSize = 0x40 // inodes have more than 128 bytes, and say so
	featChecksums = 0x400

	stateClean       = 1
	errorsContinue   = 1
	revision         = 1
	hashHalfMD4      = 1
	flagSignedHash   = 1
	mountAttributes  = 0xc // user_xattr, acl
	checksumOfCRC32C = 1

	groupNoInodes = 0x1 // the bitmap of inodes is not written
	groupNoBlocks = 0x2 // the bitmap of blocks neither
	groupZeroed   = 0x4 // the inodes that are not used are zeros
)

// seed is where all checksums start.
func (img *Image) seed() uint32 { return crc(noSum, img.o.UUID[:]) }

// super returns a group's superblock.
func (img *Image) super(group int64) []byte {
	b, g := make([]byte, 1024), img.g
	free, heads := int64(0), int64(0)
	for i, used := range img.used {
		free += g.length(int64(i)) - used
		heads += g.head(int64(i))
	}
	put64 := func(low, high int, n int64) {
		le.PutUint32(b[low:], uint32(n))
		le.PutUint32(b[high:], uint32(n>>32))
	}
	putTime := func(low, high int) { // 40 bits of seconds
		seconds := img.o.ModTime.Unix()
		le.PutUint32(b[low:], uint32(seconds))
		b[high] = byte(seconds >> 32)
	}
	le.PutUint32(b[0x00:], uint32(g.inodes*g.groups))
	put64(0x04, 0x150, g.blocks)
	put64(0x0c, 0x158, free)
	le.PutUint32(b[0x10:], uint32(g.inodes*g.groups-img.inodeCount()))
	le.PutUint32(b[0x18:], 2) // blocks of 1024 << 2 bytes
	le.PutUint32(b[0x1c:], 2) // in clusters of one
	le.PutUint32(b[0x20:], groupBlocks)
	le.PutUint32(b[0x24:], groupBlocks)
	le.PutUint32(b[0x28:], uint32(g.inodes))
	putTime(0x30, 0x274)           // written
	le.PutUint16(b[0x36:], 0xffff) // mounts until it wants a check: any number
	le.PutUint16(b[0x38:], magicSuper)
	if group == 0 { // who needs a copy needs a check
		le.PutUint16(b[0x3a:], stateClean)
	}
	le.PutUint16(b[0x3c:], errorsContinue)
	putTime(0x40, 0x277) // checked
	le.PutUint32(b[0x4c:], revision)
	le.PutUint32(b[0x54:], lostInode) // the first that is not reserved
	le.PutUint16(b[0x58:], inodeSize)
	le.PutUint16(b[0x5a:], uint16(group))
	le.PutUint32(b[0x5c:], featAttributes|featIndex)
	le.PutUint32(b[0x60:], featFileType|featExtents|feat64)
	le.PutUint32(b[0x64:], featSparse|featLarge|featHuge|featManyDirs|featExtraSize|featChecksums)
	copy(b[0x68:], img.o.UUID[:])
	copy(b[0x78:], img.o.Label)
	copy(b[0xec:], img.o.UUID[:]) // seed of hashes
	b[0xfc] = hashHalfMD4
	le.PutUint16(b[0xfe:], descriptor)
	le.PutUint32(b[0x100:], mountAttributes)
	putTime(0x108, 0x276) // made
	le.PutUint16(b[0x15c:], extraSize)
	le.PutUint16(b[0x15e:], extraSize)
	le.PutUint32(b[0x160:], flagSignedHash)
	b[0x175] = checksumOfCRC32C
	le.PutUint32(b[0x248:], uint32(heads))
	le.PutUint32(b[superCRC:], superSum(b))
	return b
}

// inodeCount is the number of inodes in use: the first ones.
func (img *Image) inodeCount() int64 { return reservedCount + int64(len(img.inodes)) - 1 }

// inodesIn is the number of inodes in use in a group.
func (img *Image) inodesIn(group int64) int64 {
	return max(0, min(img.g.inodes, img.inodeCount()-group*img.g.inodes))
}

// unwritten tells which bitmaps of a group are not written. Those of blocks always are in the first group, which has inodes, and in
// the last, which may be shorter.
func (img *Image) unwritten(group int64) (flags uint16) {
	if img.inodesIn(group) > 0 {
		return 0
	}
	if group == img.g.groups-1 || img.used[group] > img.g.head(group) {
		return groupNoInodes
	}
	return groupNoInodes | groupNoBlocks
}

// descriptors returns those of all groups.
func (img *Image) descriptors() []byte {
	all := make([]byte, img.g.descriptors*blockSize)
	dirs := make([]uint16, img.g.groups)
	for _, in := range img.inodes {
		if in.Mode.IsDir() {
			dirs[(int64(in.number)-1)/img.g.inodes]++
		}
	}
	for group := range img.g.groups {
		b := all[group*descriptor:][:descriptor]
		unwritten, at := img.unwritten(group), group*groupBlocks+img.g.bitmaps(group)
		put32 := func(low, high int, n int64) { le.PutUint32(b[low:], uint32(n)); le.PutUint32(b[high:], uint32(n>>32)) }
		put16 := func(low, high int, n uint32) { le.PutUint16(b[low:], uint16(n)); le.PutUint16(b[high:], uint16(n>>16)) }
		freeInodes := uint32(img.g.inodes - img.inodesIn(group))
		put32(0x00, 0x20, at)
		put32(0x04, 0x24, at+1)
		put32(0x08, 0x28, at+2)
		put16(0x0c, 0x2c, uint32(img.g.length(group)-img.used[group]))
		put16(0x0e, 0x2e, freeInodes)
		put16(0x10, 0x30, uint32(dirs[group]))
		le.PutUint16(b[0x12:], unwritten|groupZeroed)
		if unwritten&groupNoBlocks == 0 {
			put16(0x18, 0x38, crc(img.seed(), img.blockBitmap(group)))
		}
		if unwritten&groupNoInodes == 0 {
			put16(0x1a, 0x3a, crc(img.seed(), img.inodeBitmap(group)[:img.g.inodes/8]))
		}
		put16(0x1c, 0x32, freeInodes) // never used
		le.PutUint16(b[descriptorCRC:], descriptorSum(img.seed(), uint32(group), b))
	}
	return all
}

func (img *Image) blockBitmap(group int64) []byte {
	return bitmap(img.used[group], img.g.length(group))
}

func (img *Image) inodeBitmap(group int64) []byte {
	return bitmap(img.inodesIn(group), img.g.inodes)
}

// bitmap has the first bits set, and those that stand for nothing.
func bitmap(used, length int64) []byte {
	b := make([]byte, blockSize)
	for i := range int64(len(b)) {
		switch from := i * 8; {
		case from+8 <= used || from >= length:
			b[i] = 0xff
		default:
			for bit := range int64(8) {
				if from+bit < used || from+bit >= length {
					b[i] |= 1 << bit
				}
			}
		}
	}
	return b
}
