// Package bench measures builds of the stand-in Talos release beside the programs that the official imager calls for the same,
// and prints both with the ratios that are to be reached. Nothing fails on a slow machine.
//
// What is measured runs as a process of its own, so that processor time and peak memory come from the kernel alike: the programs,
// this very binary with its targets, and jobs of ours (see job) for what no target does.
//
//	squashfs   the largest extension: ours in several block sizes, mksquashfs
//	effort     what is appended to the initramfs, with each effort that a profile can have
//	cold       initramfs, ISO, disk and installer with an empty store; the programs for each output in turn
//	raw        the same with a raw disk of 8 GiB that is not compressed
//	large      cold with more in it
//	unchanged  the same again
//	changed    a small extension changed; another Talos patch release; twenty images of five extensions
//	shared     on a second machine with the store of the first in a registry
//	formats    disks as qcow2, VMDK, OVA and in zstd; qemu-img and zstd
//	memory     with an extension of 2 GiB
//
// The programs get what we do unasked for nothing: pulling and unpacking images, extracting the base's modules, modules.dep,
// the UKI (they get a file of its size), GRUB and SHA-256 sums of what comes out.
//
// # Not supported
//
// Architectures but amd64; systems but Linux.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/talosmith/talosmith/internal/tooltest"
)

// Options of Run.
type Options struct {
	Only    string // a section; default: all
	Profile string // default: "extensions.hcl"
	Cache   string // the folder of Debian's packages and of stand-in releases
	Mirror  string // URI of a Debian archive; default: the one in apt's configuration

	Out io.Writer // the tables
	Log io.Writer // what is going on
}

// section is a group of measures.
type section struct {
	name  string
	tools []string
	run   func(*bench, context.Context) (table, error)
}

var sections = []section{
	{"squashfs", []string{"mksquashfs"}, (*bench).squashfs},
	{"effort", initramfsTools, (*bench).effort},
	{"cold", referenceTools, (*bench).cold},
	{"raw", referenceTools, (*bench).raw},
	{"large", referenceTools, (*bench).large},
	{"unchanged", nil, (*bench).unchanged},
	{"changed", nil, (*bench).changed},
	{"shared", nil, (*bench).shared},
	{"formats", []string{"qemu-img", "zstd", "tar"}, (*bench).formats},
	{"memory", nil, (*bench).memory},
}

// bench is a run.
type bench struct {
	Options
	dir     string // of everything that the run writes; gone at its end
	self    string // this binary
	version string // of Talos
	release *server
	inputs  *inputs // of the profile, for the programs; nil until asked for
	warm    bool    // the profile was built
	peak    int64   // of the memory that any of our builds took, in bytes
}

// Run measures and prints. In a process that it started itself, it does that process's job.
func Run(ctx context.Context, o Options) error {
	if job, ok := os.LookupEnv(jobVariable); ok {
		return runJob(ctx, job)
	}
	chosen, err := choose(o.Only)
	if err != nil {
		return err
	}
	b := &bench{Options: o}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "talosmith-bench-"); err == nil {
		b.dir, err = filepath.EvalSymlinks(b.dir) // as the kernel calls it
	}
	if err != nil {
		return err
	}
	return errors.Join(b.run(ctx, chosen), b.release.close(), os.RemoveAll(b.dir))
}

// choose returns the sections that are wanted, and an error where their programs are not all there.
func choose(only string) ([]section, error) {
	chosen := sections
	var names, missing []string
	for _, s := range sections {
		names = append(names, s.name)
		if s.name == only {
			chosen = []section{s}
		}
	}
	if only != "" && !slices.Contains(names, only) {
		return nil, fmt.Errorf("there is no section %q: -only takes one of %s", only, strings.Join(names, ", "))
	}
	for _, s := range chosen {
		for _, tool := range s.tools {
			if look(tool) == "" {
				missing = append(missing, tooltest.Packages[tool])
			}
		}
	}
	slices.Sort(missing)
	if missing = slices.Compact(missing); len(missing) > 0 {
		return nil, fmt.Errorf("programs to measure against are missing: install the Debian packages %s (`go tool mage tools`)", strings.Join(missing, " "))
	}
	return chosen, nil
}

// look finds a program, also where not every user's PATH leads; "" where it is not.
func look(tool string) string {
	for _, name := range []string{tool, "/usr/sbin/" + tool, "/sbin/" + tool} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func (b *bench) run(ctx context.Context, chosen []section) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if load, err := strconv.ParseFloat(loadAverage(), 64); err == nil && load > float64(runtime.NumCPU())/2 {
		b.log("other work runs on this machine, its load average is %.2f: go by CPU times, wall times say little", load)
	}
	for _, s := range chosen {
		b.log("measuring: %s", s.name)
		before := loadAverage()
		t, err := s.run(b, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		t.load = fmt.Sprintf("load average %s before, %s after, of %d processors", before, loadAverage(), runtime.NumCPU())
		if err := t.print(b.Out); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) log(format string, args ...any) { fmt.Fprintf(b.Log, format+"\n", args...) }

// path is that of something in the run's folder.
func (b *bench) path(elements ...string) string {
	return filepath.Join(append([]string{b.dir}, elements...)...)
}
