package tree

import "io/fs"

// unixMode is a type or a bit of modes, as Go and as Unix has it.
type unixMode struct {
	mode fs.FileMode
	unix uint16
}

var (
	unixTypes = [...]unixMode{
		{0, 0o100000}, {fs.ModeDir, 0o040000}, {fs.ModeSymlink, 0o120000}, {fs.ModeNamedPipe, 0o010000}, {fs.ModeSocket, 0o140000},
		{fs.ModeDevice, 0o060000}, {fs.ModeDevice | fs.ModeCharDevice, 0o020000},
	}
	unixBits = [...]unixMode{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}}
)

// UnixMode returns a mode as Unix has it (st_mode), without a type where Unix has none for it.
func UnixMode(m fs.FileMode) uint16 {
	unix := uint16(m.Perm())
	for _, b := range unixBits {
		if m&b.mode != 0 {
			unix |= b.unix
		}
	}
	for _, t := range unixTypes {
		if m.Type() == t.mode {
			unix |= t.unix
		}
	}
	return unix
}

// FileMode returns what a mode of Unix means. It is not ok, and has no type, where the type is unknown.
func FileMode(unix uint16) (m fs.FileMode, ok bool) {
	m = fs.FileMode(unix & 0o777)
	for _, b := range unixBits {
		if unix&b.unix != 0 {
			m |= b.mode
		}
	}
	for _, t := range unixTypes {
		if unix&^0o7777 == t.unix {
			return m | t.mode, true
		}
	}
	return m, false
}
