package meta

import "crypto/sha256"

// Seal makes a partition of entries as they are, with everything around them right.
func Seal(entries []byte) []byte {
	image := make([]byte, Size)
	block := image[:blockSize]
	be.PutUint32(block, magicStart)
	copy(block[entriesAt:sumAt], entries)
	be.PutUint32(block[endAt:], magicEnd)
	sum := sha256.Sum256(block)
	copy(block[sumAt:], sum[:])
	copy(image[blockSize:], block)
	return image
}
