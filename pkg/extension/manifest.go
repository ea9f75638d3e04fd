package extension

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/talosmith/talosmith/pkg/talos"
)

// ManifestVersion is the only version of the manifest's format.
const ManifestVersion = "v1alpha1"

// Limits of what is read. A manifest has some 300 bytes; extraInfo can carry a schematic with a machine configuration.
const (
	maxManifest = 4 << 20
	maxService  = 1 << 20
	maxLayers   = 1000
)

var (
	manifestLimits = talos.YAMLLimits{Bytes: maxManifest, Keys: 1000}
	serviceLimits  = talos.YAMLLimits{Bytes: maxService, Keys: 1000}
)

// Manifest is an extension's manifest.yaml.
type Manifest struct {
	Version  string   `yaml:"version"`
	Metadata Metadata `yaml:"metadata"`
}

// Metadata says what an extension is. `talosctl get extensions` shows it.
type Metadata struct {
	Name          string        `yaml:"name"`
	Version       string        `yaml:"version"`
	Author        string        `yaml:"author"`
	Description   string        `yaml:"description"`
	Compatibility Compatibility `yaml:"compatibility"`
	// ExtraInfo is free text; the virtual extension "schematic" has the schematic in it.
	ExtraInfo string `yaml:"extraInfo,omitempty"`
}

// Compatibility says what an extension goes with.
type Compatibility struct {
	Talos Constraint `yaml:"talos"`
}

// Constraint is a range of versions ([github.com/blang/semver/v4.ParseRange], "v" allowed before numbers); empty for any.
type Constraint struct {
	Version string `yaml:"version"`
}

// ParseManifest reads a manifest.yaml. Unknown keys are ignored, as upstream does, but not wrong types.
func ParseManifest(file []byte) (Manifest, error) {
	var m Manifest
	if err := talos.DecodeYAML(file, manifestLimits, &m); err != nil {
		return Manifest{}, fmt.Errorf("read manifest.yaml: %w", err)
	}
	if m == (Manifest{}) {
		return Manifest{}, errors.New("read manifest.yaml: extension manifest is missing: the file says nothing")
	}
	if m.Version != ManifestVersion {
		return Manifest{}, fmt.Errorf("read manifest.yaml: unsupported manifest version %q: write version: %s", m.Version, ManifestVersion)
	}
	return m, nil
}

// WriteManifest encodes a manifest.
func WriteManifest(m Manifest) ([]byte, error) {
	b, err := encode(m)
	if err != nil {
		return nil, fmt.Errorf("write manifest.yaml: %w", err)
	}
	return b, nil
}

// Layer is a squashfs image over the root file system.
type Layer struct {
	// Image is the file's name at the top of the initramfs: "0.sqsh".
	Image    string   `yaml:"image"`
	Metadata Metadata `yaml:"metadata"`
}

type layers struct {
	Layers []Layer `yaml:"layers"`
}

// WriteExtensionsYAML encodes extensions.yaml, by which Talos's init mounts the layers: a later one lies over the ones before.
// The bytes are those of upstream, which uses the same encoder at the same version.
func WriteExtensionsYAML(list []Layer) ([]byte, error) {
	if len(list) > maxLayers {
		return nil, fmt.Errorf("write extensions.yaml: %d layers, the limit is %d", len(list), maxLayers)
	}
	b, err := encode(layers{list})
	if err != nil {
		return nil, fmt.Errorf("write extensions.yaml: %w", err)
	}
	return b, nil
}

// ParseExtensionsYAML reads extensions.yaml.
func ParseExtensionsYAML(file []byte) ([]Layer, error) {
	var l layers
	if err := talos.DecodeYAML(file, manifestLimits, &l); err != nil {
		return nil, fmt.Errorf("read extensions.yaml: %w", err)
	}
	if len(l.Layers) > maxLayers {
		return nil, fmt.Errorf("read extensions.yaml: %d layers, the limit is %d", len(l.Layers), maxLayers)
	}
	return l.Layers, nil
}

// ModulesDepImage is the layer that has the indexes of all kernel modules; it comes last.
const ModulesDepImage = "modules.dep.sqsh"

// ModulesDepManifest describes that layer; the version is the kernel's release.
func ModulesDepManifest(release string) Manifest {
	return Manifest{Version: ManifestVersion, Metadata: Metadata{
		Name:        "modules.dep",
		Version:     release,
		Author:      "Talos Machinery",
		Description: "Combined modules.dep for all extensions",
	}}
}

// SchematicName is that of the virtual extension by which Talos and Omni tell what an image was made of.
const SchematicName = "schematic"

// SchematicManifest describes it: the version is the schematic's ID, and text, where the Talos version wants it, the schematic.
// Source: siderolabs/image-factory internal/artifacts/schematic.go; the author is the public Factory's.
func SchematicManifest(id, text string) Manifest {
	return Manifest{Version: ManifestVersion, Metadata: Metadata{
		Name:          SchematicName,
		Version:       id,
		Author:        "Image Factory (https://factory.talos.dev/)",
		Description:   "Virtual extension which specifies the schematic of the image built with schematic.",
		Compatibility: Compatibility{Constraint{">= 1.0.0"}},
		ExtraInfo:     text,
	}}
}

// SchematicFile is the one file of that extension, an empty one.
func SchematicFile(id string) string { return "usr/local/share/schematic/" + id }

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
