package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/profile"
)

// Diff tells how two artefacts, two profiles or two locks differ. The exit code is 0 if they don't, 1 if they do, 2 if that is not known.
func Diff(ctx context.Context, from, to string, o InspectOptions) error {
	o = o.withDefaults()
	d, err := o.diff(ctx, from, to)
	if err == nil && o.JSON {
		err = writeJSON(o.Stdout, d)
	} else if err == nil {
		err = writeDifferences(o.Stdout, d, o.options().colors(o.Stdout))
	}
	switch {
	case err != nil:
		return ExitError{err, 2}
	case !d.Same:
		return ExitError{fmt.Errorf("%s and %s differ", from, to), 1}
	}
	return nil
}

func (o InspectOptions) diff(ctx context.Context, from, to string) (*inspect.Differences, error) {
	a, b := kindOf(from), kindOf(to)
	switch {
	case a != b:
		return nil, fmt.Errorf("compare: %s is %s, %s is %s: there is nothing in common", from, a, to, b)
	case a == aLock:
		return diffLocks(from, to)
	case a == aProfile:
		return o.diffProfiles(ctx, from, to)
	}
	return o.diffArtefacts(ctx, from, to)
}

// What can be compared, by name.
const (
	anArtefact = "an artefact"
	aProfile   = "a profile"
	aLock      = "a lock"
)

func kindOf(name string) string {
	if strings.HasSuffix(name, ".lock.json") {
		return aLock
	}
	if strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".json") {
		return aProfile
	}
	if st, err := os.Stat(name); err == nil && st.IsDir() && hasProfile(name) {
		return aProfile
	}
	return anArtefact
}

func (o InspectOptions) diffArtefacts(ctx context.Context, from, to string) (*inspect.Differences, error) {
	a, err := o.open(ctx, from, true)
	if err != nil {
		return nil, err
	}
	b, err := o.open(ctx, to, true)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	d, err := inspect.Diff(ctx, a, b)
	return d, errors.Join(err, a.Close(), b.Close())
}

func (o InspectOptions) diffProfiles(ctx context.Context, from, to string) (*inspect.Differences, error) {
	var plans [2]*imager.Description
	for i, name := range []string{from, to} {
		one := o.options()
		one.Profile = name
		d, err := describeProfile(ctx, one)
		if err != nil {
			return nil, err
		}
		plans[i] = d
	}
	return imager.DiffPlans(plans[0], plans[1]), nil
}

func diffLocks(from, to string) (*inspect.Differences, error) {
	var locks [2]*profile.Lock
	for i, name := range []string{from, to} {
		l, err := profile.ReadLock(name)
		if err == nil && l == nil {
			err = fmt.Errorf("read %s: there is no such lock", name)
		}
		if err != nil {
			return nil, err
		}
		locks[i] = l
	}
	return imager.DiffLocks(locks[0], locks[1]), nil
}

// writeDifferences writes them for people; with colours by what a line begins with.
func writeDifferences(w io.Writer, d *inspect.Differences, colors bool) error {
	if !colors {
		return d.WriteText(w)
	}
	var b bytes.Buffer
	if err := d.WriteText(&b); err != nil {
		return err
	}
	p := &page{colors: true}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		mark, _, _ := strings.Cut(strings.TrimPrefix(line, indent), " ")
		s := plain
		switch {
		case !strings.HasPrefix(line, indent):
			s = bold
		case mark == "-":
			s = red
		case mark == "+":
			s = green
		case mark == "~" || mark == "↕":
			s = yellow
		}
		p.line(s, line)
	}
	return p.writeTo(w)
}
