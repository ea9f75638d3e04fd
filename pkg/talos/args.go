package talos

import (
	"slices"
	"strings"
)

// Arg is one kernel argument and who asked for it.
type Arg struct {
	// Value is empty for an argument that is a word alone; "key=" is the same.
	Key, Value string
	// Origin: "platform", "iso", "overlay", "default", "meta", or what an [ExtraArg] said.
	Origin string
}

// String returns the argument as it stands in a command line.
func (a Arg) String() string {
	if a.Value == "" {
		return a.Key
	}
	return a.Key + "=" + a.Value
}

// param is all values of one key. A key without values prints nothing, but keeps its place.
type param struct {
	key    string
	values []Arg
}

// argList is a command line as go-procfs has it: each key once, with its values in order.
// Source: github.com/siderolabs/go-procfs v0.1.2, procfs/cmdline.go.
type argList []param

// parse groups words by key, in order of first occurrence. Quotes mean nothing: white space ends a word.
func parse(words []ExtraArg) argList {
	var l argList
	for _, w := range words {
		for _, field := range strings.Fields(w.Value) {
			key, value, _ := strings.Cut(field, "=")
			l.add(Arg{key, value, w.Origin})
		}
	}
	return l
}

func (l argList) find(key string) int {
	return slices.IndexFunc(l, func(p param) bool { return p.key == key })
}

// add appends a value to its key, never minding whether it is there already.
func (l *argList) add(a Arg) {
	i := l.find(a.Key)
	if i < 0 {
		i = len(*l)
		*l = append(*l, param{key: a.Key})
	}
	(*l)[i].values = append((*l)[i].values, a)
}

// set replaces a key's values, in place, and returns the old ones.
func (l *argList) set(p param) (old []Arg) {
	i := l.find(p.key)
	if i < 0 {
		*l = append(*l, p)
		return nil
	}
	old = (*l)[i].values
	(*l)[i] = p
	return old
}

// remove takes a key away, place and all, and returns its values.
func (l *argList) remove(key string) []Arg {
	i := l.find(key)
	if i < 0 {
		return nil
	}
	old := (*l)[i].values
	*l = slices.Delete(*l, i, i+1)
	return old
}

// removeValue takes the values that equal a's from a's key, which keeps its place, and returns them.
func (l argList) removeValue(a Arg) (old []Arg) {
	i := l.find(a.Key)
	if i < 0 {
		return nil
	}
	l[i].values = slices.DeleteFunc(slices.Clone(l[i].values), func(v Arg) bool {
		if v.Value == a.Value {
			old = append(old, v)
		}
		return v.Value == a.Value
	})
	return old
}

func (l argList) args() []Arg {
	var args []Arg
	for _, p := range l {
		args = append(args, p.values...)
	}
	return args
}
