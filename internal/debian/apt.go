package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// download gets packages by apt-get. Indexes are read again only where the ones at hand do not do: when there are none, or
// when the archive has replaced a package since.
func (c *cache) download(ctx context.Context, o Options, names []string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return ErrNoApt
	}
	a := apt{dir: filepath.Join(c.dir, "apt"), o: o}
	if a.ready() {
		if err := c.get(ctx, a, names); err == nil || ctx.Err() != nil {
			return err
		}
	}
	if err := a.update(ctx); err != nil {
		return err
	}
	return c.get(ctx, a, names)
}

func (c *cache) get(ctx context.Context, a apt, names []string) error {
	packages, err := a.show(ctx, names)
	if err != nil {
		return err
	}
	var bytes int64
	wanted := make([]string, len(packages))
	for i, p := range packages {
		bytes += p.Size
		wanted[i] = p.Name + "=" + p.Version
	}
	if a.o.Log != nil {
		a.o.Log(fmt.Sprintf("downloading %d packages of Debian %s (%.1f MB)", len(packages), a.o.Suite, float64(bytes)/1e6))
	}
	tmp, err := os.MkdirTemp(c.dir, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := a.run(ctx, tmp, "apt-get", append([]string{"-qq", "download"}, wanted...)...); err != nil {
		return err
	}
	for _, p := range packages {
		found, err := filepath.Glob(filepath.Join(tmp, p.Name+"_*.deb"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("apt-get download %s: it left %d files where one was expected", p.Name, len(found))
		}
		if err := p.checkFile(found[0]); err != nil {
			return err
		}
		p.File = filepath.Base(found[0])
		to := filepath.Join(c.dir, p.File)
		if err := errors.Join(os.RemoveAll(to+".tar"), os.Rename(found[0], to)); err != nil {
			return err
		}
		st, err := os.Stat(to)
		if err != nil {
			return err
		}
		c.add(p, st)
	}
	return c.save()
}

func (p Package) checkFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != p.SHA256 {
		return fmt.Errorf("check %s: SHA-256 is %s, the archive's index says %s", name, got, p.SHA256)
	}
	return nil
}

// apt is the machine's apt with private directories.
type apt struct {
	dir string
	o   Options
}

func (a apt) config() string { return filepath.Join(a.dir, "apt.conf") }

func (a apt) ready() bool {
	_, err := os.Stat(filepath.Join(a.dir, "updated"))
	return err == nil
}

// update reads the suite's indexes from the first mirror that has them.
func (a apt) update(ctx context.Context) error {
	keyring, err := keyring()
	if err != nil {
		return err
	}
	mirrors := []string{a.o.Mirror}
	if a.o.Mirror == "" {
		if mirrors, err = configuredMirrors(ctx); err != nil {
			return err
		}
	}
	var failures []error
	for _, m := range mirrors {
		if err := a.configure(m, keyring); err != nil {
			return err
		}
		if a.o.Log != nil {
			a.o.Log("reading the package index of Debian " + a.o.Suite)
		}
		_, err := a.run(ctx, a.dir, "apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update")
		if err == nil {
			return os.WriteFile(filepath.Join(a.dir, "updated"), []byte(m+"\n"), 0o644)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failures = append(failures, err)
	}
	return fmt.Errorf("no mirror in apt's configuration has Debian %s: name one by TALOSMITH_DEBIAN_MIRROR=<URI>: %w", a.o.Suite, errors.Join(failures...))
}

// configure writes the configuration that is read after the machine's own, so that proxies stay.
func (a apt) configure(mirror, keyring string) error {
	for _, d := range []string{"lists/partial", "cache/archives/partial", "sources"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	dir, err := filepath.Abs(a.dir)
	if err != nil {
		return err
	}
	source := strings.Join([]string{
		"Types: deb", "URIs: " + mirror, "Suites: " + a.o.Suite, "Components: main non-free-firmware", "Architectures: " + a.o.Arch,
		"Targets: Packages", // no translations, no AppStream
		"Signed-By: " + keyring, "",
	}, "\n")
	config := strings.Join([]string{
		`#clear APT::Architectures;`, `#clear APT::Update::Post-Invoke;`, `#clear APT::Update::Post-Invoke-Success;`, `#clear DPkg::Post-Invoke;`,
		`APT::Architecture "` + a.o.Arch + `";`,
		`APT::Architectures { "` + a.o.Arch + `"; };`,
		`APT::Sandbox::User "root";`, // else root's apt-get becomes _apt, who may not enter a home directory
		`Dir::State::Lists "` + dir + `/lists";`,
		`Dir::State::status "/dev/null";`,
		`Dir::Cache "` + dir + `/cache";`,
		`Dir::Etc::SourceList "/dev/null";`,
		`Dir::Etc::SourceParts "` + dir + `/sources";`,
		`Dir::Etc::Preferences "/dev/null";`, `Dir::Etc::PreferencesParts "/dev/null";`, ``,
	}, "\n")
	return errors.Join(
		os.WriteFile(filepath.Join(a.dir, "sources", "debian.sources"), []byte(source), 0o644),
		os.WriteFile(a.config(), []byte(config), 0o644))
}

// show asks the indexes for packages, in order.
func (a apt) show(ctx context.Context, names []string) ([]Package, error) {
	out, err := a.run(ctx, a.dir, "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...)
	if err != nil {
		return nil, err
	}
	found := parseStanzas(out)
	packages := make([]Package, len(names))
	for i, n := range names {
		p, ok := found[n]
		if !ok {
			return nil, fmt.Errorf("the archive has no package %s: was it replaced by a newer one? Remove %s to start anew", n, filepath.Dir(a.dir))
		}
		packages[i] = p
	}
	return packages, nil
}

// parseStanzas reads "Field: value" paragraphs.
func parseStanzas(text []byte) map[string]Package {
	packages := map[string]Package{}
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		var p Package
		for line := range strings.SplitSeq(stanza, "\n") {
			field, value, _ := strings.Cut(line, ": ")
			switch field {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "Architecture":
				p.Arch = value
			case "SHA256":
				p.SHA256 = value
			case "Size":
				p.Size, _ = strconv.ParseInt(value, 10, 64) // a wrong one is seen by the checksum
			case "Depends", "Pre-Depends":
				p.Depends = append(p.Depends, dependsNames(value)...)
			}
		}
		if _, twice := packages[p.Name]; p.Name != "" && !twice {
			packages[p.Name] = p
		}
	}
	return packages
}

// dependsNames gives the names of "libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0, python3:any".
func dependsNames(field string) (names []string) {
	for clause := range strings.SplitSeq(field, ",") {
		if words := strings.Fields(clause); len(words) > 0 {
			name, _, _ := strings.Cut(words[0], ":")
			names = append(names, name)
		}
	}
	return names
}

// configuredMirrors returns the URIs of apt's sources that may be a Debian archive, the likeliest first. Others fail at update:
// they are not signed by Debian.
func configuredMirrors(ctx context.Context) ([]string, error) {
	out, err := run(exec.CommandContext(ctx, "apt-get", "indextargets", "--no-release-info",
		"--format", "$(IDENTIFIER) $(COMPONENT) $(RELEASE) $(REPO_URI)"))
	if err != nil {
		return nil, err
	}
	mirrors := parseTargets(out)
	if len(mirrors) == 0 {
		return nil, errors.New("apt's configuration names no archive of a distribution: name a Debian mirror by TALOSMITH_DEBIAN_MIRROR=<URI>")
	}
	return mirrors, nil
}

func parseTargets(text []byte) []string {
	var mirrors, suites []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "Packages" || f[1] != "main" {
			continue
		}
		suites = append(suites, f[2]+" "+f[3])
		// bookworm-security and bookworm-backports may be elsewhere
		if !strings.ContainsAny(f[2], "-/") && !slices.Contains(mirrors, f[3]) {
			mirrors = append(mirrors, f[3])
		}
	}
	// A distribution's archive has "-updates" beside the release; the archive of some vendor for that release has not.
	likely := func(uri string) bool {
		return slices.ContainsFunc(suites, func(s string) bool { return strings.HasSuffix(s, "-updates "+uri) })
	}
	slices.SortStableFunc(mirrors, func(a, b string) int {
		switch {
		case likely(a) == likely(b):
			return 0
		case likely(a):
			return -1
		}
		return 1
	})
	return mirrors
}

func keyring() (string, error) {
	for _, ext := range []string{".pgp", ".gpg"} { // Debian 13 and later, and before
		name := "/usr/share/keyrings/debian-archive-keyring" + ext
		if _, err := os.Stat(name); err == nil {
			return name, nil
		}
	}
	return "", errors.New("the archive's keys are missing: install the package debian-archive-keyring")
}

func (a apt) run(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	config, err := filepath.Abs(a.config())
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, tool, append([]string{"-c", config}, args...)...)
	cmd.Dir = dir
	return run(cmd)
}

// run returns a command's standard output; its messages are the error.
func run(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
