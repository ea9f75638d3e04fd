package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/source"
)

// InspectOptions say what is told of an artefact: its report, or instead its files, or instead its parts are written out.
type InspectOptions struct {
	JSON, Files bool
	Extract     string // folder
	Arch        string // of an image that there are several of

	Env    func(string) (string, bool) // os.LookupEnv
	Stdout io.Writer                   // os.Stdout
	Stderr io.Writer                   // os.Stderr
}

func (o InspectOptions) withDefaults() InspectOptions {
	d := o.options()
	o.Env, o.Stdout, o.Stderr = d.Env, d.Stdout, d.Stderr
	return o
}

// options are those of a run with a profile.
func (o InspectOptions) options() Options {
	return Options{Env: o.Env, Stdout: o.Stdout, Stderr: o.Stderr}.withDefaults()
}

// open is what [inspect.Open] needs of this machine: no profile, so registries are those of the environment.
func (o InspectOptions) open(ctx context.Context, ref string, allFiles bool) (*inspect.Artefact, error) {
	cache, err := CacheDir(o.Env)
	if err != nil {
		return nil, err
	}
	list, _ := o.Env("TALOSMITH_MIRRORS")
	mirrors, err := source.ParseMirrors(list)
	if err != nil {
		return nil, fmt.Errorf("TALOSMITH_MIRRORS: %w", err)
	}
	sources := source.New(source.Options{Bundle: bundleFile(o.Env), Cache: filepath.Join(cache, downloadsDir), Mirrors: mirrors, Log: o.options().log()})
	return inspect.Open(ctx, ref, inspect.Options{Sources: sources, Arch: o.Arch, AllFiles: allFiles})
}

// Inspect tells what an artefact is made of.
func Inspect(ctx context.Context, ref string, o InspectOptions) error {
	o = o.withDefaults()
	a, err := o.open(ctx, ref, o.Files)
	if err != nil {
		return err
	}
	switch {
	case o.Extract != "":
		var names []string
		names, err = a.Extract(ctx, o.Extract)
		for _, n := range names {
			fmt.Fprintln(o.Stdout, filepath.Join(o.Extract, filepath.FromSlash(n)))
		}
	case o.JSON:
		err = inspectJSON(ctx, a, o)
	case o.Files:
		err = a.Files(ctx, func(f inspect.File) error { return f.WriteText(o.Stdout) })
	default:
		err = a.Report.WriteText(o.Stdout)
	}
	return errors.Join(err, a.Close())
}

func inspectJSON(ctx context.Context, a *inspect.Artefact, o InspectOptions) error {
	out := struct {
		inspect.Report
		Files []inspect.File `json:"files,omitempty"`
	}{Report: a.Report}
	if o.Files {
		if err := a.Files(ctx, func(f inspect.File) error { out.Files = append(out.Files, f); return nil }); err != nil {
			return err
		}
	}
	return writeJSON(o.Stdout, out)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// ExitError ends the program with an exit code; mage looks for the method.
type ExitError struct {
	error
	Code int
}

// ExitStatus is the exit code.
func (e ExitError) ExitStatus() int { return e.Code }

func (e ExitError) Unwrap() error { return e.error }
