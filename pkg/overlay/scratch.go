package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Where things are in the directory that a program runs in.
const (
	filesDir = "overlay"
	diskName = "disk.raw"
	mountDir = "mnt"
	espDir   = "boot/EFI" // below mountDir
	tempDir  = "tmp"
)

// scratch is the directory that a program runs in.
type scratch struct {
	dir     string
	root    *os.Root
	runner  Runner
	program string
}

// inScratch makes a directory with an overlay's files for the time of fn, in another one.
func inScratch(ctx context.Context, r Runner, in string, files *tree.Tree, name string, fn func(*scratch) error) (err error) {
	arch, err := r.Arch()
	if err == nil {
		err = CheckProgram(files, name, arch)
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(in, "overlay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	s := &scratch{dir, root, r, InstallerPath(name)}
	if err := s.unpack(ctx, files); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return fn(s)
}

// unpack writes the overlay's files, and the directories that a program expects.
func (s *scratch) unpack(ctx context.Context, files *tree.Tree) error {
	for _, dir := range []string{tempDir, mountDir + "/" + espDir} {
		if err := s.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for n := range files.All() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.write(filepath.Join(filesDir, filepath.FromSlash(n.Path)), n); err != nil {
			return err
		}
	}
	return nil
}

func (s *scratch) write(name string, n tree.Node) error {
	switch n.Mode.Type() {
	case fs.ModeDir:
		return s.root.MkdirAll(name, 0o755)
	case fs.ModeSymlink:
		return s.root.Symlink(n.Link, name)
	case 0:
		f, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, n.Mode.Perm()|0o400)
		if err != nil {
			return err
		}
		return errors.Join(tree.Copy(f, n.Content), f.Close())
	}
	return fmt.Errorf("%s: neither a file nor a directory nor a link", n.Path)
}

// run runs the program.
func (s *scratch) run(ctx context.Context, arg string, maxFile int64, stdin func(string) ([]byte, error)) ([]byte, error) {
	out, err := s.runner.Run(ctx, Command{Root: s.dir, Program: filesDir + "/" + s.program, Arg: arg, Stdin: stdin, MaxFile: maxFile})
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", s.program, arg, err)
	}
	return out, nil
}

// remove removes a directory whatever permissions a program has left in it.
func remove(dir string) error {
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error { // what fails here, fails again below
		if err == nil && d.IsDir() {
			err = os.Chmod(name, 0o700)
		}
		return err
	})
	return os.RemoveAll(dir)
}
