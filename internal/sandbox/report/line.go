// Package report is the language in which the stand-in's init speaks on the serial console: who writes it, and who reads it.
//
// A line is a kind in capitals and fields "key=value"; a value with white space, quotes or control characters is quoted as in
// Go. The kinds, in the order in which they come:
//
//	STANDIN    version= kernel=                          the release, as /etc/os-release has it, and `uname -r`
//	CMDLINE    text=                                     /proc/cmdline
//	MICROCODE  file= size= sha256=                       each file of /kernel/x86/microcode in the initramfs
//	EXTENSION  image= name= version= files= file= sha256=
//	           each layer of extensions.yaml, in order: the number of its regular files, and the biggest of them as it reads in
//	           the merged root; no file= where the layer has only directories
//	LABEL      file= value=                              security.selinux of files that have it in a layer, at most 20
//	FIRMWARE   files= bytes=                             all of /usr/lib/firmware
//	FIRMWARE   file= sha256=                             the first file of each directory there
//	MODULE     name= release= result=                    what `modprobe` of each module in a layer did: "loaded", "live" when
//	           it was there before, else its message
//	SERVICE    name= says=                               the first line of each extension service
//	KERNEL     text=                                     errors in the kernel's log, the last 20
//	MEMORY     total= available=                         bytes
//	UPTIME     seconds=                                  since the kernel's start
//
// After them comes "STANDIN READY", alone on its line; or, where the first stage gives up, "STANDIN FAILED: " and the reason.
//
// With the kernel argument standin.mount (see package sandbox) these come instead:
//
//	MOUNT      device= type= result=                     "mounted", or the kernel's refusal
//	FILE       path= mode= uid= gid= size= mtime= nlink= ino= link= major= minor= sha256= and a field for each xattr
//	           each file below the mount, parents first; mode is octal with the type bits
package report

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Ready ends a report.
const Ready = "STANDIN READY"

// Failed begins the line that ends a report whose root could not be mounted.
const Failed = "STANDIN FAILED: "

// Line is one line: a kind and its fields.
type Line struct {
	Kind   string
	Fields []Field
}

// Field is a key and its value.
type Field struct{ Key, Value string }

// Get returns the value of a key, "" where it is not there.
func (l Line) Get(key string) string {
	for _, f := range l.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// New makes a line of keys and values in turn.
func New(kind string, keysAndValues ...any) Line {
	l := Line{Kind: kind}
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		l.Fields = append(l.Fields, Field{fmt.Sprint(keysAndValues[i]), fmt.Sprint(keysAndValues[i+1])})
	}
	return l
}

func (l Line) String() string {
	var b strings.Builder
	b.WriteString(l.Kind)
	for _, f := range l.Fields {
		v := f.Value
		if v == "" || strings.ContainsFunc(v, func(r rune) bool {
			return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '"' || r == unicode.ReplacementChar
		}) {
			v = strconv.QuoteToASCII(v)
		}
		b.WriteString(" " + f.Key + "=" + v)
	}
	return b.String()
}

var kinds = map[string]bool{
	"STANDIN": true, "CMDLINE": true, "MICROCODE": true, "EXTENSION": true, "LABEL": true, "FIRMWARE": true, "MODULE": true, "SERVICE": true,
	"KERNEL": true, "MEMORY": true, "UPTIME": true, "MOUNT": true, "FILE": true,
}

// Parse reads a line as String writes it. Others on the console, of firmware and kernel, are none.
func Parse(text string) (Line, bool) {
	kind, rest, _ := strings.Cut(text, " ")
	if !kinds[kind] {
		return Line{}, false
	}
	l := Line{Kind: kind}
	for rest != "" {
		key, value, ok := strings.Cut(rest, "=")
		if !ok {
			return Line{}, false
		}
		if strings.HasPrefix(value, `"`) {
			quoted, err := strconv.QuotedPrefix(value)
			if err != nil {
				return Line{}, false
			}
			rest = strings.TrimPrefix(value[len(quoted):], " ")
			value, _ = strconv.Unquote(quoted) // what has a quoted prefix is quoted
		} else {
			value, rest, _ = strings.Cut(value, " ")
		}
		l.Fields = append(l.Fields, Field{key, value})
	}
	return l, len(l.Fields) > 0
}
