// Package migrate writes profiles of what the official tools take: schematics of the Image Factory, and profiles of the imager. What has no
// equivalent becomes a comment, and nothing else is left out.
package migrate

import (
	"cmp"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/schematic"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Options say what a file leaves open.
type Options struct {
	// Talos is a version. Empty: the file's, or the newest stable one that is known.
	Talos string
	// Platform is one of [talos.Platforms]. Empty: the file's, or metal.
	Platform string
}

// limits of a file. It can hold a machine configuration.
var limits = talos.YAMLLimits{Bytes: 4 << 20, Keys: 1000}

// File returns the profile that says what a schematic or an imager profile does, YAML or JSON.
func File(file []byte, o Options) ([]byte, error) {
	var n yaml.Node
	if err := talos.DecodeYAML(file, limits, &n); err != nil {
		return nil, err
	}
	// These two words are all that both have.
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			switch n.Content[i].Value {
			case "baseProfileName", "arch", "platform", "secureboot", "name", "version", "input", "output":
				return imagerProfile(file, o)
			}
		}
	}
	s, err := schematic.Parse(file)
	if err != nil {
		return nil, err
	}
	return Schematic(s, o)
}

// facts of a version, platform and architecture, each given or else by default.
func facts(version, platform, arch string) (talos.Facts, error) {
	v, err := talos.Stable(), error(nil)
	if version != "" {
		v, err = talos.ParseVersion(version)
	}
	if err != nil {
		return talos.Facts{}, err
	}
	return talos.For(v, cmp.Or(platform, "metal"), arch)
}

// finish checks what every profile has to obey.
func finish(text []byte) ([]byte, error) {
	if len(text) > profile.MaxBytes {
		return nil, fmt.Errorf("write profile: it would be %d bytes long, and a profile has at most %d: take the machine configuration out, "+
			"and name its file in the profile: embedded_config = file(\"controlplane.yaml\")", len(text), profile.MaxBytes)
	}
	return text, nil
}

var errUTF8 = errors.New("it is not UTF-8")
