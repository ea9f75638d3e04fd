package iso9660

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// A System Use field: two letters, its length, its version, then its bytes.
func field(sig string, data ...byte) []byte {
	return append([]byte{sig[0], sig[1], byte(4 + len(data)), 1}, data...)
}

const (
	maxField     = 255          // a field's length is one byte
	maxNM        = maxField - 5 // bytes of a name in one NM
	maxSL        = maxField - 5 // bytes of components in one SL
	maxComponent = maxSL - 2    // bytes of a target's path element in one component
	ceSize       = 28           // of a CE field
	maxName      = 255          // what Linux takes
	maxTarget    = 4095         // what Linux takes

	continues = 1 // flag of NM, SL and of a component: the next one goes on
)

// Flags of an SL component that stands for itself.
const (
	componentCurrent = 2
	componentParent  = 4
	componentRoot    = 8
)

// sp starts the root's fields: it says that there are any, and that they begin at the start of the system use area.
func sp() []byte { return field("SP", 0xBE, 0xEF, 0) }

// er names the extension in use, with the texts that Rock Ridge wants there.
func er() []byte {
	const (
		id     = "RRIP_1991A"
		desc   = "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
		source = "PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  " +
			"SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
	)
	return field("ER", append([]byte{byte(len(id)), byte(len(desc)), byte(len(source)), 1}, id+desc+source...)...)
}

// px holds the mode, the number of links (1, as xorriso has it) and the owner.
func px(n tree.Node) []byte {
	var b []byte
	for _, v := range []uint32{uint32(tree.UnixMode(n.Mode)), 1, n.UID, n.GID} {
		b = both32(b, v)
	}
	return field("PX", b...)
}

// tf holds the times of the last modification, access and change of attributes: flags 0x0e, 7 bytes each.
func tf(t time.Time) []byte {
	b := []byte{0x0e}
	for range 3 {
		b = append(b, shortTime(t)...)
	}
	return field("TF", b...)
}

// nm holds a name.
func nm(name string) (fields [][]byte) {
	for len(name) > maxNM {
		fields = append(fields, field("NM", append([]byte{continues}, name[:maxNM]...)...))
		name = name[maxNM:]
	}
	return append(fields, field("NM", append([]byte{0}, name...)...))
}

// sl holds a symbolic link's target, element by element.
func sl(target string) (fields [][]byte) {
	var cur []byte
	put := func(flags byte, s string) {
		if len(cur)+2+len(s) > maxSL {
			fields = append(fields, field("SL", append([]byte{continues}, cur...)...))
			cur = nil
		}
		cur = append(append(cur, flags, byte(len(s))), s...)
	}
	rest, absolute := strings.CutPrefix(target, "/")
	if absolute {
		put(componentRoot, "")
	}
	for element := range strings.SplitSeq(rest, "/") {
		switch element {
		case "": // only of "/"
		case ".":
			put(componentCurrent, "")
		case "..":
			put(componentParent, "")
		default:
			for len(element) > maxComponent {
				put(continues, element[:maxComponent])
				element = element[maxComponent:]
			}
			put(0, element)
		}
	}
	return append(fields, field("SL", append([]byte{0}, cur...)...))
}

// checkTarget refuses targets that Rock Ridge cannot hold as they are written.
func checkTarget(target string) error {
	if len(target) > maxTarget {
		return fmt.Errorf("link target of %d bytes: %d are the most", len(target), maxTarget)
	}
	rest := strings.TrimPrefix(target, "/")
	if rest == "" {
		return nil
	}
	for element := range strings.SplitSeq(rest, "/") {
		if element == "" {
			return fmt.Errorf("link target %q: has an empty path element, which Rock Ridge cannot hold", target)
		}
	}
	if strings.IndexByte(target, 0) >= 0 {
		return fmt.Errorf("link target %q: has a zero byte", target)
	}
	return nil
}

// continuation collects the fields for which directory records have no room.
type continuation struct {
	start uint32 // its first block
	buf   []byte
}

// place returns what goes into a system use area of room bytes. What does not fit is put into the continuation, to which a
// CE field leads; no piece crosses a block's border, since no reader has to follow across one.
func (c *continuation) place(room int, fields [][]byte) []byte {
	here, rest := split(fields, room)
	if len(rest) == 0 {
		return here
	}
	left := blockSize - len(c.buf)%blockSize
	if left < min(length(rest), maxField+ceSize) {
		c.buf = append(c.buf, make([]byte, left)...)
		left = blockSize
	}
	piece, further := split(rest, left)
	size := len(piece)
	if len(further) > 0 {
		size += ceSize
	}
	at := len(c.buf)
	c.buf = append(c.buf, make([]byte, size)...)
	piece = c.place(left, rest) // with its own CE where there is more
	copy(c.buf[at:], piece)
	ce := both32(nil, c.start+uint32(at/blockSize))
	ce = both32(ce, uint32(at%blockSize))
	ce = both32(ce, uint32(size))
	return append(here, field("CE", ce...)...)
}

// split takes as many fields as fit into room, with room left for a CE where they are not all.
func split(fields [][]byte, room int) (head []byte, rest [][]byte) {
	if length(fields) > room {
		room -= ceSize
	}
	for i, f := range fields {
		if len(head)+len(f) > room {
			return head, fields[i:]
		}
		head = append(head, f...)
	}
	return head, nil
}

func length(fields [][]byte) (n int) {
	for _, f := range fields {
		n += len(f)
	}
	return n
}

func both16(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, v), v)
}

func both32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, v), v)
}

// shortTime is a directory record's time: years since 1900, month, day, hour, minute, second, and 0 for UTC.
func shortTime(t time.Time) []byte {
	t = t.UTC()
	return []byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}
