package overlay

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Options are what an installer says of its board.
type Options struct {
	Name       string   `json:"name"`
	KernelArgs []string `json:"kernel_args"`
	// Offset is how many sectors the partition table's entries begin behind its header.
	Offset uint64 `json:"offset"`
}

// Limits of what an installer says; the official ones say 200 bytes, with 6 kernel arguments, and 20480 sectors at most.
const (
	maxAnswer = 1 << 20 // bytes
	maxKeys   = 1000
	maxArgs   = 200
	maxOffset = 1 << 21 // sectors of 512 bytes: 1 GiB
)

// ParseOptions reads the answer to get-options. What it does not know it leaves out, as the official imager does.
func ParseOptions(answer []byte) (Options, error) {
	var in struct {
		Name             string   `yaml:"name"`
		KernelArgs       []string `yaml:"kernelArgs"`
		PartitionOptions struct {
			Offset uint64 `yaml:"offset"`
		} `yaml:"partitionOptions"`
	}
	if err := talos.DecodeYAML(answer, talos.YAMLLimits{Bytes: maxAnswer, Keys: maxKeys}, &in); err != nil {
		return Options{}, fmt.Errorf("its answer: %w", err)
	}
	o := Options{in.Name, in.KernelArgs, in.PartitionOptions.Offset}
	if o.Offset > maxOffset {
		return Options{}, fmt.Errorf("its answer: partitionOptions.offset of %d sectors: at most %d (1 GiB) lie before the partition table's entries", o.Offset, maxOffset)
	}
	if len(o.KernelArgs) > maxArgs {
		return Options{}, fmt.Errorf("its answer: %d kernelArgs: at most %d", len(o.KernelArgs), maxArgs)
	}
	for _, a := range o.KernelArgs {
		if !utf8.ValidString(a) || strings.ContainsFunc(a, unicode.IsControl) || len(a) > talos.CmdlineMax {
			return Options{}, fmt.Errorf("its answer: kernelArgs: %.100q is no kernel argument: control characters, or more than %d bytes", a, talos.CmdlineMax)
		}
	}
	return o, nil
}

// GetOptions asks a board's installer for its options. It runs in a new directory in another one.
func GetOptions(ctx context.Context, r Runner, in string, files *tree.Tree, name string, extra map[string]any) (o Options, err error) {
	program, err := files.Filter(func(n tree.Node) bool { return n.Path == InstallerPath(name) })
	if err != nil {
		return o, err
	}
	err = inScratch(ctx, r, in, program, name, func(s *scratch) error {
		answer, err := s.run(ctx, "get-options", maxAnswer, func(string) ([]byte, error) { return marshal(extra) })
		if err == nil {
			o, err = ParseOptions(answer)
		}
		return err
	})
	return o, err
}

// ExtraOptions are a board's options as a file: what an installer image has, too.
func ExtraOptions(extra map[string]any) ([]byte, error) { return marshal(extra) }

func marshal(extra map[string]any) ([]byte, error) {
	if extra == nil {
		extra = map[string]any{}
	}
	b, err := yaml.Marshal(extra)
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	return b, nil
}
