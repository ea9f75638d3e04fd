package preflight

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/talosmith/talosmith/pkg/elfinfo"
	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/tree"
)

// maxFiles is how many files and directories a tree may have. The largest official extensions have some 5000.
const maxFiles = 1 << 18

// Contents is what is kept of a file tree.
type Contents struct {
	Files    []File              `json:"files"`
	Services []extension.Service `json:"services,omitempty"`
}

// File is what is kept of a file.
type File struct {
	extension.Entry
	// ELF is set for programs and libraries.
	ELF *elfinfo.Info `json:"elf,omitempty"`
	// Script is the interpreter of an executable text, as its first line ("#!") says.
	Script string `json:"script,omitempty"`
	// Damage says why the headers of an ELF file can't be read.
	Damage string `json:"damage,omitempty"`
}

// ReadExtension describes an extension, with the hash of every file.
func ReadExtension(e *extension.Extension) (*Contents, error) {
	if err := checkCount(e.Root); err != nil {
		return nil, err
	}
	entries, err := extension.Entries(e.Root)
	if err != nil {
		return nil, err
	}
	c := &Contents{Services: e.Services()}
	c.Files, err = describe(e.Root, entries)
	return c, err
}

// ReadBase describes Talos's root file system.
func ReadBase(root *tree.Tree) (*Contents, error) {
	if err := checkCount(root); err != nil {
		return nil, err
	}
	var entries []extension.Entry
	for n := range root.All() {
		entries = append(entries, extension.NewEntry(n))
	}
	files, err := describe(root, entries)
	return &Contents{Files: files}, err
}

func checkCount(t *tree.Tree) error {
	if t.Len() > maxFiles {
		return fmt.Errorf("%d files and directories, the limit is %d", t.Len(), maxFiles)
	}
	return nil
}

func describe(root *tree.Tree, entries []extension.Entry) ([]File, error) {
	files := make([]File, len(entries))
	for i, e := range entries {
		files[i].Entry = e
		if !e.Mode.IsRegular() || isData(e.Path) {
			continue
		}
		n, _ := root.Lookup(e.Path)
		if err := files[i].read(n.Content); err != nil {
			return nil, fmt.Errorf("read %q: %w", "/"+e.Path, err)
		}
	}
	return files, nil
}

// isData tells of files that no loader reads: firmware is often ELF for some other processor, and modules are read by package kmod.
func isData(p string) bool {
	p = strings.TrimPrefix(p, "usr/")
	return strings.HasPrefix(p, "lib/firmware/") || strings.HasPrefix(p, "lib/modules/")
}

const (
	scriptLine = 256 // bytes of a first line that Linux reads
	anyExecute = 0o111
)

func (f *File) read(b tree.Blob) error {
	r, ok := b.(io.ReaderAt)
	if !ok {
		return errors.New("its content cannot be read from anywhere")
	}
	disk := &failureNoter{r: r}
	info, err := elfinfo.Read(disk, b.Size())
	if disk.err != nil {
		return disk.err
	}
	if err != nil {
		f.Damage = err.Error()
		return nil
	}
	if info != nil && (info.Type == "exec" || info.Type == "dyn") {
		f.ELF = info
	}
	if info != nil || f.Mode&anyExecute == 0 {
		return nil
	}
	line := make([]byte, min(scriptLine, b.Size()))
	if err := tree.ReadFull(r, line, 0); err != nil {
		return err
	}
	f.Script = interpreter(line)
	return nil
}

// failureNoter tells a file that can't be read from one that is damaged: what is kept of files says the latter only.
type failureNoter struct {
	r   io.ReaderAt
	err error
}

func (n *failureNoter) ReadAt(p []byte, off int64) (int, error) {
	read, err := n.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return read, err
}

// interpreter returns what the first line of a script names.
func interpreter(head []byte) string {
	line, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	words := bytes.Fields(line)
	if len(words) == 0 || bytes.IndexByte(words[0], 0) >= 0 {
		return ""
	}
	return string(words[0])
}

// isLibrary tells whether programs are linked with a file.
func (f *File) isLibrary() bool {
	return f.ELF.Soname != "" || strings.Contains(path.Base(f.Path), ".so")
}

// isProgram tells whether a file is to be started: some extensions carry ELF files for the machines that they emulate, as data.
func (f *File) isProgram() bool { return f.ELF.Interp != "" || f.Mode&anyExecute != 0 }
