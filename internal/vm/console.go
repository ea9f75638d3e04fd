package vm

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// maxLine limits a line of the console: a longer one is given in pieces.
const maxLine = 64 << 10

// Control sequences: colours and cursor movements as firmware and boot loaders write them, other control characters.
var control = regexp.MustCompile("\x1b\\[[0-9;?=]*[ -/]*[@-~]|\x1b[^\\[]|[\x00-\x08\x0b-\x1f\x7f]")

// console keeps the last lines, for an error.
type console struct{ last []string }

// read hands on lines until the end, or until line returns true.
func (c *console) read(r io.Reader, line func(string) bool) (stopped bool) {
	b := bufio.NewReaderSize(r, maxLine)
	for {
		raw, err := b.ReadSlice('\n')
		if len(raw) > 0 {
			text := control.ReplaceAllString(strings.TrimRight(string(raw), "\r\n"), "")
			if c.last = append(c.last, text); len(c.last) > 40 {
				c.last = c.last[1:]
			}
			if line(text) {
				return true
			}
		}
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
	}
}

func (c *console) tail() string { return "\t" + strings.Join(c.last, "\n\t") }
