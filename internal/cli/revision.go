package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
)

// describeRevision says what the profile's images are in a git revision, whose commit it returns, too: with all files that the profile reads,
// and the lock, as they are there. A profile that is not there yet has no images.
func (s *Session) describeRevision(ctx context.Context, rev string) (d *imager.Description, commit string, err error) {
	in, err := s.sources.TempDir()
	if err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp(in, "revision-")
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	top, commit, err := exportRevision(ctx, s.Profile.Dir, rev, dir)
	if ctx.Err() != nil {
		return nil, "", errInterrupted
	}
	if err != nil {
		return nil, "", fmt.Errorf("-diff=%s: %w", rev, err)
	}
	var said bytes.Buffer // of use only if it fails
	o := s.o
	o.Profile, o.Lock, o.Stderr = top, "", &said
	if filepath.Clean(s.Profile.Dir) != filepath.Clean(s.o.Profile) { // a file
		o.Profile = filepath.Join(top, filepath.Base(s.o.Profile))
	}
	if !hasProfile(o.Profile) {
		s.print.note(fmt.Sprintf("%s is not there in %s: all of it is new", s.o.Profile, rev))
		return &imager.Description{}, commit, nil
	}
	if d, err = describeProfile(ctx, o); err != nil {
		text := strings.ReplaceAll(said.String(), filepath.Join(dir, exported)+string(filepath.Separator), rev+":")
		_, _ = io.WriteString(s.print, text)
		return nil, "", fmt.Errorf("%s in %s: %w", s.o.Profile, rev, err)
	}
	return d, commit, nil
}

// exported is the folder of a revision's files.
const exported = "files"

// hasProfile tells whether there is a profile: a file, or a directory with some.
func hasProfile(name string) bool {
	st, err := os.Stat(name)
	if err != nil || !st.IsDir() {
		return err == nil
	}
	for _, pattern := range []string{"*.hcl", "*.hcl.json"} {
		if found, _ := fs.Glob(os.DirFS(name), pattern); len(found) > 0 {
			return true
		}
	}
	return false
}

// describeProfile says what a profile's images are, without a store. An image that is asked for may be missing.
func describeProfile(ctx context.Context, o Options) (*imager.Description, error) {
	s, err := load(o)
	if err != nil {
		return nil, err
	}
	if _, err := s.connect(); err != nil {
		return nil, err
	}
	defer s.print.end()
	if o.Image != "" && !slices.ContainsFunc(s.Profile.Images, func(i *profile.Image) bool { return o.Image == i.Name || o.Image == i.Label }) {
		return &imager.Description{Talos: s.Profile.Talos.Version.String()}, nil
	}
	return s.describe(ctx, false)
}

// exportRevision writes the files of a revision of the repository that a folder lies in below another one. It returns what the folder is there,
// and the commit. The repository, its index and its files stay as they are. Files are as in a checkout, LFS and line ends included.
func exportRevision(ctx context.Context, folder, rev, to string) (top, commit string, err error) {
	git := func(in string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", in}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_INDEX_FILE="+filepath.Join(to, "index"))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			return "", errors.New("git is not installed: it reads the revision")
		}
		if err != nil {
			return "", fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(cmp.Or(stderr.String(), err.Error())))
		}
		return strings.TrimSuffix(string(out), "\n"), nil
	}
	root, err := git(folder, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", "", err
	}
	prefix, err := git(folder, "rev-parse", "--show-prefix")
	if err != nil {
		return "", "", err
	}
	if commit, err = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}"); err != nil {
		return "", "", fmt.Errorf("the repository %s has no such revision; a shallow clone lacks most: `git fetch` gets it", root)
	}
	files := filepath.Join(to, exported)
	if _, err = git(root, "read-tree", commit); err == nil {
		_, err = git(root, "checkout-index", "--all", "--prefix="+files+string(filepath.Separator))
	}
	return filepath.Join(files, filepath.FromSlash(prefix)), commit, err
}
