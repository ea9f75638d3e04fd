package iso9660

import (
	"encoding/binary"
	"io/fs"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// suspNode is a node as a directory record and its fields describe it; its Path is only its name.
type suspNode struct {
	tree.Node
	child     uint32 // CL: the block where the directory lies that belongs here
	relocated bool   // RE: a directory that belongs elsewhere
}

// node makes a node of a record: of its Rock Ridge fields, where there are some, over what ISO 9660 itself says.
func (p *parser) node(r dirRecord) (n suspNode, err error) {
	n.Path, _, _ = strings.Cut(r.id, ";")
	n.Path = strings.TrimSuffix(n.Path, ".")
	n.ModTime = r.time
	n.Mode = 0o444
	if r.flags&flagDir != 0 {
		n.Mode = fs.ModeDir | 0o555
	}
	fields, err := p.fields(r)
	if err != nil {
		return n, err
	}
	var name, target strings.Builder
	var link linkParser
	for _, f := range fields {
		sig, b := string(f[:2]), f[4:]
		least, known := map[string]int{"PX": 32, "TF": 1, "NM": 1, "SL": 1, "CL": 8, "PN": 16}[sig]
		if known && len(b) < least {
			return n, invalid("field %s of %d bytes", sig, len(f))
		}
		switch sig {
		case "PX":
			n.Mode, _ = tree.FileMode(binary.LittleEndian.Uint16(b)) // without a type it is a file
			n.UID, n.GID = binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[24:])
		case "TF":
			if t, ok := modified(b); ok {
				n.ModTime = t
			}
		case "NM":
			name.Write(b[1:])
		case "SL":
			if err := link.add(&target, b[1:]); err != nil {
				return n, err
			}
		case "CL":
			n.child = binary.LittleEndian.Uint32(b)
		case "RE":
			n.relocated = true
		case "PN":
			n.Major, n.Minor = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[8:])
		case "ZF":
			return n, invalid("compressed (zisofs) files are not supported")
		}
	}
	if name.Len() > 0 {
		n.Path = name.String()
	}
	return n, n.settle(r, target.String())
}

// settle makes the parts of a node agree.
func (n *suspNode) settle(r dirRecord, target string) error {
	if n.child != 0 {
		n.Mode = fs.ModeDir | n.Mode.Perm()
	} else if n.Mode.IsDir() != (r.flags&flagDir != 0) {
		return invalid("mode %v of what is a directory: %t", n.Mode, r.flags&flagDir != 0)
	}
	if n.Mode.Type()&fs.ModeDevice == 0 {
		n.Major, n.Minor = 0, 0
	}
	if n.Mode.Type() == fs.ModeSymlink {
		n.Link = target
	}
	return nil
}

// fields returns a record's system use fields, those in continuations too.
func (p *parser) fields(r dirRecord) (fields [][]byte, err error) {
	if !p.susp || len(r.system) < p.skip {
		return nil, nil
	}
	b := r.system[p.skip:]
	for range maxCE {
		var next []byte
		for len(b) >= 4 && b[0] != 0 {
			size := int(b[2])
			if size < 4 || size > len(b) {
				return nil, invalid("field %q of %d bytes, with %d left", b[:2], size, len(b))
			}
			f := b[:size]
			b = b[size:]
			switch string(f[:2]) {
			case "CE":
				next = f
			case "ST":
				b = nil
			default:
				fields = append(fields, f)
			}
		}
		if next == nil {
			return fields, nil
		}
		if len(next) != ceSize {
			return nil, invalid("field CE of %d bytes", len(next))
		}
		at := int64(binary.LittleEndian.Uint32(next[4:]))*blockSize + int64(binary.LittleEndian.Uint32(next[12:]))
		size := binary.LittleEndian.Uint32(next[20:])
		if size > 4*blockSize {
			return nil, invalid("continuation of %d bytes", size)
		}
		if err := p.spend(int(size)); err != nil {
			return nil, err
		}
		if b, err = p.read(at, int64(size)); err != nil {
			return nil, err
		}
	}
	return nil, invalid("a record has more than %d continuations", maxCE)
}

// linkParser joins the components of a link's target.
type linkParser struct {
	elements int
	within   bool // the last component goes on
}

func (l *linkParser) add(target *strings.Builder, b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 || 2+int(b[1]) > len(b) {
			return invalid("component of a link's target is cut off")
		}
		flags, s := b[0], string(b[2:2+b[1]])
		b = b[2+len(s):]
		if l.elements++; l.elements > 1 && !l.within && target.String() != "/" {
			target.WriteByte('/')
		}
		switch l.within = flags&continues != 0; {
		case flags&componentRoot != 0:
			s = "/"
		case flags&componentParent != 0:
			s = ".."
		case flags&componentCurrent != 0:
			s = "."
		}
		target.WriteString(s)
	}
	return nil
}

// modified finds the time of modification in a TF field: flags, then a time for each flag.
func modified(b []byte) (t time.Time, ok bool) {
	const creation, modify, long = 1, 2, 0x80
	size := 7
	if b[0]&long != 0 {
		size = 17
	}
	at := 1
	if b[0]&creation != 0 {
		at += size
	}
	if b[0]&modify == 0 || at+size > len(b) {
		return t, false
	}
	if size == 17 {
		return parseLongTime(b[at : at+size]), true
	}
	return parseShortTime(b[at : at+size]), true
}

// parseShortTime reads a directory record's time; the last byte counts quarters of an hour east of Greenwich.
func parseShortTime(b []byte) time.Time {
	if b[1] == 0 || b[2] == 0 { // not told
		return time.Unix(0, 0).UTC()
	}
	t := time.Date(1900+int(b[0]), time.Month(b[1]), int(b[2]), int(b[3]), int(b[4]), int(b[5]), 0, time.UTC)
	return t.Add(-15 * time.Minute * time.Duration(int8(b[6])))
}

func parseLongTime(b []byte) time.Time {
	t, err := time.Parse("20060102150405", string(b[:14]))
	if err != nil { // not told
		return time.Unix(0, 0).UTC()
	}
	if h := b[14:16]; h[0] >= '0' && h[0] <= '9' && h[1] >= '0' && h[1] <= '9' {
		t = t.Add(10 * time.Millisecond * time.Duration((h[0]-'0')*10+h[1]-'0'))
	}
	return t.Add(-15 * time.Minute * time.Duration(int8(b[16])))
}
