package grub

import (
	"bytes"

	"github.com/ulikunitz/xz/lzma"
)

// compress makes a stream of LZMA as GRUB's decompressor reads it: parameters are fixed, so there is no header, and it stops when
// it has as many bytes as it was told.
func compress(b []byte) ([]byte, error) {
	const header = 13 // parameters, size of the dictionary, size of the content
	var out bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties:   &lzma.Properties{LC: 3, LP: 0, PB: 2},
		DictCap:      dictionary,
		SizeInHeader: true,
		Size:         int64(len(b)),
	}.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes()[header:], nil
}

// dictionary is how far back the stream refers, as in grub-mkimage.
const dictionary = 1 << 16
