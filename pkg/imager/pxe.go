package imager

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// pxeParts are what a PXE script loads, and its command line for other loaders.
var pxeParts = []talos.Kind{talos.KindKernel, talos.KindInitramfs, talos.KindCmdline}

// withParts adds to outputs the parts of a PXE script among them that nobody has declared.
func withParts(outputs []profile.Output) []profile.Output {
	has := func(k talos.Kind) bool {
		return slices.ContainsFunc(outputs, func(o profile.Output) bool { return o.Kind == k })
	}
	for _, k := range pxeParts {
		if i := slices.IndexFunc(outputs, func(o profile.Output) bool { return o.Kind == talos.KindPXE }); i >= 0 && !has(k) {
			outputs = append(slices.Clip(outputs), profile.Output{Kind: k, Place: outputs[i].Place, Meta: outputs[i].Meta})
		}
	}
	return outputs
}

func (t *target) pxeRecipe(_ context.Context, out profile.Output) (recipe, error) {
	script, err := t.pxeScript(out)
	return recipe{"pxe", script}, err
}

func (t *target) pxe(_ context.Context, out profile.Output) (tree.Blob, error) {
	script, err := t.pxeScript(out)
	return tree.String(script), err
}

// pxeScript is as the Image Factory's (siderolabs/image-factory internal/frontend/http/standard.ipxe). iPXE takes a name without a URL
// relative to the script's own. It splits arguments at spaces, and knows no quotes.
func (t *target) pxeScript(out profile.Output) (string, error) {
	cmdline, err := t.cmdline(out)
	if err != nil {
		return "", err
	}
	for _, a := range cmdline.Args {
		if s := a.String(); strings.Contains(s, "${") || s == "&&" || s == "||" {
			return "", fmt.Errorf("image %s: kernel argument %q (%s): iPXE would take it for its own; build an ISO or a disk, or leave it out", t.Name(), s, a.Origin)
		}
	}
	url := func(k talos.Kind) string {
		file := t.Image.FileName(profile.Output{Kind: k}, t.Arch)
		if out.BaseURL == "" {
			return file
		}
		return out.BaseURL + "/" + file
	}
	return fmt.Sprintf("#!ipxe\n\nimgfree\nkernel %s %s\ninitrd %s\nboot\n", url(talos.KindKernel), cmdline, url(talos.KindInitramfs)), nil
}
