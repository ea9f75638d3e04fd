// Package cli is what all targets share: it is where the environment, the clock and the terminal enter.
//
// The environment, all of it machine-local and none of it part of what is built (but SOURCE_DATE_EPOCH):
//
//	TALOSMITH_CACHE    folder of the store and of downloads; default: talosmith in the user's cache folder
//	TALOSMITH_FROM     a file of `mage bundle`: images come from it, and none from the network
//	TALOSMITH_MIRRORS  HOST=URL,…: registries to ask first
//	TALOSMITH_VERIFY   1: run every step even if its output is stored, write every artefact, and compare; 0: don't, the default
//	TALOSMITH_STORE_WRITE  1: upload what is made here to the profile's store; 0: don't; default: what the profile says
//	TALOSMITH_FACTORY  URL of the Image Factory that schematics are asked of; default: https://factory.talos.dev
//	SOURCE_DATE_EPOCH  seconds: every timestamp; default: that of init in Talos's initramfs
//	NO_COLOR           anything but nothing: no colours
//	GOMEMLIMIT         bytes that the garbage collector keeps to; default: 360MiB
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/term"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/overlay/confine"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/store/oci"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Options of a run. Zero values are the defaults that the documentation gives.
type Options struct {
	Profile string // path; "extensions.hcl"
	Image   string // name; all images
	Out     string // folder; "out"
	Lock    string // path; beside the profile, as [profile.Profile.LockPath] says
	Locked  *bool  // whether a missing or stale lock is an error; nil: in CI

	Env     func(string) (string, bool) // os.LookupEnv
	Mirrors []source.Mirror             // asked before those of the environment
	Stdout  io.Writer                   // os.Stdout
	Stderr  io.Writer                   // os.Stderr
}

// ErrShown says that everything has been printed already.
var ErrShown = errors.New("see above")

// Session is a profile with the store and the sources of this machine.
type Session struct {
	o       Options
	Profile *profile.Profile
	sources *source.Sources
	store   *store.Store
	remote  *oci.Store // nil: none
	epoch   *time.Time
	verify  bool
	print   *printer
	runner  *confine.Runner // of overlays' installers
}

// CacheDir is the folder of the store and of downloads.
func CacheDir(env func(string) (string, bool)) (string, error) {
	if dir, ok := env("TALOSMITH_CACHE"); ok && dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder: %w: set TALOSMITH_CACHE", err)
	}
	return filepath.Join(dir, "talosmith"), nil
}

// Open reads the profile and opens what a build needs. Mistakes in the profile are printed, and the error is ErrShown.
func Open(o Options) (*Session, error) {
	s, err := load(o)
	if err != nil {
		return nil, err
	}
	cache, err := s.connect()
	if err != nil {
		return nil, err
	}
	if s.epoch, err = sourceDateEpoch(s.o.Env); err != nil {
		return nil, err
	}
	if _, set := s.o.Env("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(memoryLimit)
	}
	local := store.Options{
		Dir: filepath.Join(cache, storeDir), Workers: runtime.GOMAXPROCS(0), Verify: s.verify, Observe: s.print.step, Now: time.Now,
		Log: s.log(),
	}
	if s.Profile.Store != nil {
		if s.remote, err = s.openRemote(); err != nil {
			return nil, err
		}
		local.Remote = s.remote
	}
	if s.store, err = store.Open(local); err != nil {
		return nil, fmt.Errorf("%w: set TALOSMITH_CACHE to a folder that can be written to", err)
	}
	return s, nil
}

// load reads the profile. Mistakes in it are printed, and the error is ErrShown.
func load(o Options) (*Session, error) {
	s := &Session{o: o.withDefaults()}
	s.print = newPrinter(s.o)
	s.runner = &confine.Runner{Note: s.print.note}
	var diags hcl.Diagnostics
	s.Profile, diags = profile.Load(s.o.Profile, profile.Options{Env: s.o.Env, Bundled: bundleFile(s.o.Env) != ""})
	return s, s.show(diags)
}

// connect makes the sources, and returns the folder of their cache.
func (s *Session) connect() (cache string, err error) {
	if cache, err = CacheDir(s.o.Env); err != nil {
		return "", err
	}
	if s.verify, err = isSet(s.o.Env, "TALOSMITH_VERIFY", false); err != nil {
		return "", err
	}
	mirrors, _ := s.o.Env("TALOSMITH_MIRRORS")
	more, err := source.ParseMirrors(mirrors)
	if err != nil {
		return "", fmt.Errorf("TALOSMITH_MIRRORS: %w", err)
	}
	s.sources = source.New(source.Options{
		Bundle: bundleFile(s.o.Env), Cache: filepath.Join(cache, downloadsDir), Mirrors: append(s.o.Mirrors, more...), Registries: registries(s.Profile),
		Log: s.log(), Progress: s.print.download,
		Verify: s.verify,
	})
	if err := s.sources.CheckBundle(); err != nil {
		return "", fmt.Errorf("TALOSMITH_FROM: %w", err)
	}
	return cache, nil
}

func (s *Session) log() *slog.Logger { return slog.New(warnings{s.print.note}) }

// isSet reads a variable that is 0 or 1.
func isSet(env func(string) (string, bool), name string, unset bool) (bool, error) {
	switch v, _ := env(name); v {
	case "":
		return unset, nil
	case "0", "1":
		return v == "1", nil
	default:
		return false, fmt.Errorf("%s=%s: want 0 or 1", name, v)
	}
}

// memoryLimit is what the garbage collector works harder to keep to, in bytes; steps get less, see [store.DefaultMemory].
const memoryLimit = 360 << 20

// TalosVersion is the Talos version of a profile, as a tag. Mistakes in the profile are printed.
func TalosVersion(name string) (string, error) {
	s, err := load(Options{Profile: name})
	return s.Profile.Talos.Version.String(), err
}

// defaultProfile is what is built where nobody says otherwise.
const defaultProfile = "extensions.hcl"

// mage is the command for a target with this profile, as messages name it.
func (o Options) mage(target ...string) string {
	words := append([]string{"go", "tool", "mage"}, target...)
	if o.Profile != "" && o.Profile != defaultProfile {
		words = append(words, "-profile="+o.Profile)
	}
	return "`" + shell(words) + "`"
}

func (o Options) withDefaults() Options {
	if o.Profile == "" {
		o.Profile = defaultProfile
	}
	if o.Out == "" {
		o.Out = "out"
	}
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	return o
}

func registries(p *profile.Profile) map[string]source.Registry {
	all := map[string]source.Registry{}
	for _, r := range p.Registries {
		s := source.Registry{CA: r.CA, ClientCert: r.ClientCert, ClientKey: r.ClientKey, Insecure: r.Insecure}
		for _, m := range r.Mirrors {
			s.Mirrors = append(s.Mirrors, m.Value)
		}
		all[r.Host] = s
	}
	return all
}

func sourceDateEpoch(env func(string) (string, bool)) (*time.Time, error) {
	text, ok := env("SOURCE_DATE_EPOCH")
	if !ok || text == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH=%s: want seconds since 1970, at most %d", text, uint32(1<<32-1))
	}
	return new(time.Unix(int64(seconds), 0)), nil
}

// Close closes the store.
func (s *Session) Close() error {
	s.print.end()
	return s.store.Close()
}

// Build resolves, plans and builds what is asked for, and prints each artefact.
func (s *Session) Build(ctx context.Context, req imager.Request) (*imager.Manifest, error) {
	ctx, stop := stoppable(ctx)
	defer stop()
	g, jobs, err := s.plan(ctx, req)
	if err != nil {
		return nil, err
	}
	m, err := imager.Build(ctx, g, jobs, s.options())
	s.finish(ctx)
	return m, s.ended(ctx, err)
}

// Push makes the installer images and uploads them to the profile's tags, and prints how to use them.
func (s *Session) Push(ctx context.Context) error {
	ctx, stop := stoppable(ctx)
	defer stop()
	g, jobs, err := s.plan(ctx, imager.Request{Kinds: []talos.Kind{talos.KindInstaller}})
	if err != nil {
		return err
	}
	pushed, err := imager.Push(ctx, g, jobs, s.options())
	s.finish(ctx)
	for _, p := range pushed {
		s.print.pushed(p)
	}
	return s.ended(ctx, err)
}

// ended is one error in place of what everything that was at work says when the user has enough; or of what has been printed.
func (s *Session) ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	if refused := (*imager.PreflightError)(nil); errors.As(err, &refused) {
		return fmt.Errorf("%s: %w", s.o.Profile, ErrShown)
	}
	return err
}

var errInterrupted = errors.New("interrupted: what is complete stays")

// plan resolves what is asked for with the lock, and plans it.
func (s *Session) plan(ctx context.Context, req imager.Request) (*imager.Graph, []imager.Job, error) {
	lock, err := profile.ReadLock(s.lockPath())
	if err != nil {
		return nil, nil, err
	}
	req.Lock = lock
	g, jobs, err := s.resolve(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	return g, jobs, s.checkLock(lock, g.Resolution)
}

func (s *Session) resolve(ctx context.Context, req imager.Request) (*imager.Graph, []imager.Job, error) {
	req.Image, req.Runner = s.o.Image, s.runner
	res, jobs, diags := imager.Resolve(ctx, s.Profile, req, s.sources)
	if ctx.Err() != nil {
		return nil, nil, errInterrupted
	}
	if err := s.show(diags); err != nil {
		return nil, nil, err
	}
	return imager.Plan(res, s.sources, s.epoch), jobs, nil
}

func (s *Session) options() imager.Options {
	return imager.Options{
		Out: s.o.Out, Store: s.store, Sources: s.sources, Epoch: s.epoch, Verify: s.verify, Tool: Version(), Report: s.report, Note: s.print.note, Writing: s.print.writing, Done: s.print.artefact,
	}
}

// show prints diagnostics. Errors among them end the run.
func (s *Session) show(diags hcl.Diagnostics) error {
	if len(diags) == 0 {
		return nil
	}
	width := uint(0)
	if columns, ok := terminalWidth(s.o.Stderr); ok {
		width = uint(columns)
	}
	if err := profile.WriteDiagnostics(s.print, s.Profile.Files, diags, width, s.print.color); err != nil {
		return err
	}
	if diags.HasErrors() {
		return fmt.Errorf("%s: %w", s.o.Profile, ErrShown)
	}
	return nil
}

// module is this program's, whoever imports it.
const module = "github.com/talosmith/talosmith"

// Version is this program's version, from its build information.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "talosmith (unknown version)"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Version != "" {
			return "talosmith " + m.Version
		}
	}
	return "talosmith (devel)"
}

func terminalWidth(w io.Writer) (width int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	return width, err == nil
}
