package overlay

import (
	"fmt"
	"maps"
	"slices"

	"github.com/talosmith/talosmith/pkg/talos"
)

// Profile is what the imager's profile of a board says that matters here. Platform, size and format are whose profile it is that is built;
// so does the Image Factory. Source: internal/profile/profile.go of siderolabs/image-factory.
type Profile struct {
	// Bootloader of disks; empty for the default of the version and architecture.
	Bootloader talos.Bootloader `json:"bootloader"`
	// Ignored are customizations that it has and nobody has heeded.
	Ignored []string `json:"ignored"`
}

// MaxProfile is more than any profile has, in bytes.
const MaxProfile = 1 << 20

// ParseProfile reads an imager's profile.
func ParseProfile(file []byte) (Profile, error) {
	var in struct {
		Output struct {
			ImageOptions struct {
				Bootloader string `yaml:"bootloader"`
			} `yaml:"imageOptions"`
		} `yaml:"output"`
		Customization map[string]any `yaml:"customization"`
	}
	if err := talos.DecodeYAML(file, talos.YAMLLimits{Bytes: MaxProfile, Keys: maxKeys}, &in); err != nil {
		return Profile{}, err
	}
	p := Profile{Ignored: slices.Sorted(maps.Keys(in.Customization))}
	switch b := in.Output.ImageOptions.Bootloader; b {
	case "", "none":
	case string(talos.SDBoot), string(talos.GRUB), string(talos.DualBoot):
		p.Bootloader = talos.Bootloader(b)
	default:
		return Profile{}, fmt.Errorf("output.imageOptions.bootloader: %.100q is none of %s, %s and %s", b, talos.SDBoot, talos.GRUB, talos.DualBoot)
	}
	return p, nil
}
