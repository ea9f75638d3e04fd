package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Limits of what an installer leaves. Raspberry Pis have the most: about 100 files.
const (
	maxFiles = 10_000
	maxDepth = 32
	maxNamed = 10 // in an error
)

// Install lets a board's installer, which runs in a new directory in another one, write to a disk of a size in bytes, and gives what it did to
// use, until that returns.
func Install(ctx context.Context, r Runner, in string, files *tree.Tree, name string, extra map[string]any, size int64, use func(Effects) error) error {
	return inScratch(ctx, r, in, files, name, func(s *scratch) (err error) {
		disk, err := s.root.OpenFile(diskName, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, disk.Close()) }()
		if err := disk.Truncate(size); err != nil {
			return err
		}
		_, err = s.run(ctx, "install", max(size, 1<<30), func(root string) ([]byte, error) {
			return yaml.Marshal(struct {
				InstallDisk   string         `yaml:"installDisk"`
				MountPrefix   string         `yaml:"mountPrefix"`
				ArtifactsPath string         `yaml:"artifactsPath"`
				ExtraOptions  map[string]any `yaml:"extraOptions,omitempty"`
			}{root + "/" + diskName, root + "/" + mountDir, root + "/" + filesDir + "/" + Artifacts, extra})
		})
		if err != nil {
			return err
		}
		e, err := s.effects(ctx, disk, size)
		if err != nil {
			return fmt.Errorf("%s install: %w", s.program, err)
		}
		return use(e)
	})
}

// effects are what the program has left.
func (s *scratch) effects(ctx context.Context, disk *os.File, size int64) (e Effects, err error) {
	if err := s.checkDisk(disk, size); err != nil {
		return e, err
	}
	c := collector{s: s}
	if err := c.walk(tree.Root, 0); err != nil {
		return e, err
	}
	if len(c.stray) > 0 {
		more := ""
		if n := len(c.stray) - maxNamed; n > 0 {
			c.stray, more = c.stray[:maxNamed], fmt.Sprintf(" and %d more", n)
		}
		return e, fmt.Errorf("it wrote what would be lost: %s%s: only files below %s of mountPrefix, and installDisk, reach a disk", strings.Join(c.stray, ", "), more, espDir)
	}
	if e.ESP, err = tree.New(c.esp); err != nil {
		return e, err
	}
	e.Raw, err = extents(ctx, disk, size)
	return e, err
}

// checkDisk makes sure that the disk is the file that it was.
func (s *scratch) checkDisk(disk *os.File, size int64) error {
	now, err := disk.Stat()
	if err != nil {
		return err
	}
	there, err := s.root.Lstat(diskName)
	switch {
	case err != nil || !os.SameFile(now, there):
		return errors.New("it replaced installDisk instead of writing to it")
	case now.Size() != size:
		return fmt.Errorf("it made installDisk %d bytes long: a disk of %d bytes stays so", now.Size(), size)
	}
	return nil
}

// collector gathers the files of the EFI system partition, and what is elsewhere.
type collector struct {
	s     *scratch
	esp   []tree.Node
	stray []string
	seen  int
}

// walk looks into a directory of the scratch directory.
func (c *collector) walk(dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it left directories more than %d deep", maxDepth)
	}
	if err := c.s.root.Chmod(dir, 0o700); err != nil { // some installers make directories that only root can enter
		return err
	}
	names, err := c.names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if c.seen++; c.seen > maxFiles {
			return fmt.Errorf("it left more than %d files", maxFiles)
		}
		p := path.Join(dir, name)
		if p == tempDir || p == filesDir || p == diskName {
			continue
		}
		if err := c.entry(p, depth); err != nil {
			return err
		}
	}
	return nil
}

// names are those in a directory, sorted; of more than there may be, some.
func (c *collector) names(dir string) ([]string, error) {
	f, err := c.s.root.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(maxFiles + 1)
	if errors.Is(err, io.EOF) { // it is empty
		err = nil
	}
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

func (c *collector) entry(p string, depth int) error {
	inside, onESP := strings.CutPrefix(p, mountDir+"/"+espDir+"/")
	info, err := c.s.root.Lstat(p)
	if err != nil {
		return err
	}
	n := tree.Node{Path: inside, Mode: 0o644}
	switch {
	case onESP && !utf8.ValidString(p):
		return fmt.Errorf("it left a file whose name is not UTF-8: %q", p)
	case info.IsDir():
		if n.Mode = fs.ModeDir | 0o755; onESP {
			c.esp = append(c.esp, n)
		}
		return c.walk(p, depth+1)
	case !onESP:
		c.stray = append(c.stray, fmt.Sprintf("%q", "/"+p))
		return nil
	case !info.Mode().IsRegular():
		return fmt.Errorf("it left %q on the EFI system partition: FAT has files and directories only", inside)
	}
	n.Content = rootFile{c.s.root, p, info.Size()}
	c.esp = append(c.esp, n)
	return nil
}
