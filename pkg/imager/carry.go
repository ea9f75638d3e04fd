package imager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/talosmith/talosmith/internal/atomicfile"
	"github.com/talosmith/talosmith/pkg/source"
)

// carried are the images, archives and layouts that a profile is built from: what does not lie in its repository, as
// directories and what is written in it do. Files can be left out, too.
func (r *Resolution) carried(files bool) (all []source.Named, err error) {
	seen := map[string]bool{}
	for _, f := range r.Found {
		n, digest := source.Named{Artifact: f.Artifact}, f.Artifact.Manifest
		switch {
		case f.ref.Image != "":
			digest = f.Artifact.Index // of all architectures
			if n.Name, err = source.CopyName(f.ref.Image); err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
		case files && f.ref.Tarball != "":
			n.Name = strings.TrimPrefix(f.Reference, "tarball ")
		case files && f.ref.OCILayout != "":
			n.Name = strings.TrimPrefix(f.Reference, "oci layout ")
		default:
			continue
		}
		if key := n.Name + "@" + digest; !seen[key] {
			seen[key] = true
			all = append(all, n)
		}
	}
	return all, nil
}

// Bundle is a file that has been written.
type Bundle struct {
	Images int
	Size   int64  // bytes
	SHA256 string // hexadecimal digits
}

// WriteBundle writes everything that a profile is built from, and does not lie in its repository, into one file: see
// [source.Sources.WriteBundle]. The file appears complete or not at all.
func WriteBundle(ctx context.Context, r *Resolution, src *source.Sources, name string) (b Bundle, err error) {
	all, err := r.carried(true)
	if err != nil {
		return b, err
	}
	if err := removeLeft(filepath.Dir(name), atomicfile.Prefix+filepath.Base(name)+"."); err != nil {
		return b, err
	}
	f, err := createOut(ctx, name)
	if err != nil {
		return b, err
	}
	if err := src.WriteBundle(ctx, io.NewOffsetWriter(f, 0), all); err != nil {
		return b, errors.Join(fmt.Errorf("write %s: %w", name, err), f.discard())
	}
	b = Bundle{Images: len(all), Size: f.at}
	b.SHA256, _, err = f.commit(f.at)
	return b, err
}

// Mirror copies the images that a profile is built from into a registry, and returns the base URL of the mirror that it is then: see
// [source.Sources.Copy].
func Mirror(ctx context.Context, r *Resolution, src *source.Sources, registry string, done func(source.Copied)) (base string, err error) {
	all, err := r.carried(false)
	if err != nil {
		return "", err
	}
	return src.Copy(ctx, registry, all, done)
}
