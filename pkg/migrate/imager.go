package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/schematic"
	"github.com/talosmith/talosmith/pkg/talos"
)

// imagerFile is a profile of the imager, which makes one artefact. Source: siderolabs/talos pkg/imager/profile.
type imagerFile struct {
	BaseProfileName string `yaml:"baseProfileName"`
	Arch            string `yaml:"arch"`
	Platform        string `yaml:"platform"`
	SecureBoot      bool   `yaml:"secureboot"`
	Name            string `yaml:"name"`
	Version         string `yaml:"version"`
	Customization   struct {
		ExtraKernelArgs              []string              `yaml:"extraKernelArgs"`
		MetaContents                 []schematic.MetaValue `yaml:"metaContents"`
		EmbeddedMachineConfiguration string                `yaml:"embeddedMachineConfiguration"`
	} `yaml:"customization"`
	Input struct {
		Kernel           fileAsset      `yaml:"kernel"`
		Initramfs        fileAsset      `yaml:"initramfs"`
		SDStub           fileAsset      `yaml:"sdStub"`
		SDBoot           fileAsset      `yaml:"sdBoot"`
		BaseInstaller    container      `yaml:"baseInstaller"`
		ImageCache       container      `yaml:"imageCache"`
		OverlayInstaller container      `yaml:"overlayInstaller"`
		SecureBoot       map[string]any `yaml:"secureboot"`
		SystemExtensions []container    `yaml:"systemExtensions"`
	} `yaml:"input"`
	Overlay *struct {
		Name    string         `yaml:"name"`
		Image   container      `yaml:"image"`
		Options map[string]any `yaml:"options"`
	} `yaml:"overlay"`
	Output struct {
		Kind         string       `yaml:"kind"`
		ImageOptions imageOptions `yaml:"imageOptions"`
		ISOOptions   isoOptions   `yaml:"isoOptions"`
		OutFormat    string       `yaml:"outFormat"`
	} `yaml:"output"`
}

type imageOptions struct {
	DiskSize          int64  `yaml:"diskSize"`
	DiskFormat        string `yaml:"diskFormat"`
	DiskFormatOptions string `yaml:"diskFormatOptions"`
	DiskSectorSize    uint   `yaml:"diskSectorSize"`
	Bootloader        string `yaml:"bootloader"`
	SDBootEnrollKeys  string `yaml:"sdBootEnrollKeys"`
}

type isoOptions struct {
	SDBootEnrollKeys string `yaml:"sdBootEnrollKeys"`
	Bootloader       string `yaml:"bootloader"`
}

type fileAsset struct {
	Path string `yaml:"path"`
}

// container is an image: the tarball if there is one, else the OCI layout, else the reference.
type container struct {
	ImageRef      string `yaml:"imageRef"`
	ForceInsecure bool   `yaml:"forceInsecure"`
	TarballPath   string `yaml:"tarballPath"`
	OCIPath       string `yaml:"ociPath"`
}

// kinds are ours by the imager's.
var kinds = map[string]talos.Kind{
	"iso": talos.KindISO, "image": talos.KindDisk, "installer": talos.KindInstaller, "kernel": talos.KindKernel,
	"initramfs": talos.KindInitramfs, "uki": talos.KindUKI, "cmdline": talos.KindCmdline,
}

// imagerProfile returns the profile that says what one of the imager does.
func imagerProfile(file []byte, o Options) ([]byte, error) {
	in := &imagerFile{}
	if err := talos.DecodeStrictYAML(file, limits, in); err != nil {
		return nil, fmt.Errorf("read imager profile: %w", err)
	}
	kind, err := in.complete()
	if err != nil {
		return nil, fmt.Errorf("read imager profile: %w", err)
	}
	f, err := facts(cmp.Or(o.Talos, in.Version), cmp.Or(o.Platform, in.Platform), cmp.Or(in.Arch, talos.AMD64))
	if err != nil {
		return nil, err
	}
	m := newImage(f)
	m.head = []string{"A profile of the imager, by `mage import`. Paths were those of its container: look whether they lead somewhere here."}
	if in.Version == "" {
		m.talos.notes = append(m.talos.notes, "The imager's profile has no version, and would take the imager's own.")
	}
	if in.SecureBoot || len(in.Input.SecureBoot) > 0 {
		m.lost("secureboot", "Images for SecureBoot are not built here.")
	}
	m.base(in)
	m.imagerExtensions(in.Input.SystemExtensions)
	c := in.Customization
	m.kernelArgs(c.ExtraKernelArgs)
	m.embeddedConfig(c.EmbeddedMachineConfiguration)
	if err := talos.CheckMeta(kind, []talos.MetaValue{{Key: 1}}); err != nil && len(c.MetaContents) > 0 {
		m.lost("metaContents", "%s", sentence(err))
	} else {
		m.metaValues(c.MetaContents)
	}
	m.imageCache(in.Input.ImageCache)
	m.imagerOverlay(in)
	m.imagerOutput(in, kind)
	return m.write()
}

// complete adds what the base profile has, as the imager does, and returns the kind of output.
func (in *imagerFile) complete() (talos.Kind, error) {
	base, secure := strings.CutPrefix(in.BaseProfileName, "secureboot-")
	in.SecureBoot = in.SecureBoot || secure
	platform, output := base, "image"
	switch base {
	case "":
		platform, output = "", ""
	case "iso", "installer":
		platform, output = "metal", base
	case "metal-uki":
		platform, output = "metal", "uki"
	case "metal-4k":
		platform = "metal"
		in.Output.ImageOptions.DiskSectorSize = cmp.Or(in.Output.ImageOptions.DiskSectorSize, 4096)
	default:
		if _, err := talos.FindPlatform(base); err == nil {
			break
		}
		if in.Overlay == nil {
			return "", fmt.Errorf("baseProfileName: there is no base profile %s", quoted(base))
		}
		platform = "metal" // as all overlays' own profiles have
	}
	in.Platform = cmp.Or(in.Platform, platform)
	if in.Overlay != nil {
		in.Arch = cmp.Or(in.Arch, talos.ARM64)
	}
	in.Output.Kind = cmp.Or(strings.ToLower(in.Output.Kind), output)
	kind, ok := kinds[in.Output.Kind]
	if !ok {
		return "", fmt.Errorf("output.kind: there is no output %s: must be one of cmdline, image, initramfs, installer, iso, kernel, uki", quoted(in.Output.Kind))
	}
	return kind, nil
}

// base is what takes the place of the release's own.
func (m *image) base(in *imagerFile) {
	b := block{name: "base"}
	if in.Name != "" && in.Name != talos.Name {
		if wrong := profile.Refusal("base", "name", in.Name); wrong != "" {
			m.lost("name "+quoted(in.Name), "%s", wrong)
		} else {
			b.set("name", cty.StringVal(in.Name))
		}
	}
	for _, file := range []struct{ attribute, path, own string }{
		{"kernel", in.Input.Kernel.Path, m.facts.Kernel}, {"initramfs", in.Input.Initramfs.Path, m.facts.Initramfs},
		{"sd_boot", in.Input.SDBoot.Path, m.facts.SDBoot}, {"sd_stub", in.Input.SDStub.Path, m.facts.SDStub},
	} {
		if file.path != "" && path.Clean(file.path) != "/"+file.own {
			b.set(file.attribute, cty.StringVal(file.path))
		}
	}
	if len(b.attributes) > 0 {
		m.others = append(m.others, b)
	}
	if c := in.Input.BaseInstaller; c != (container{}) && !m.ownInstaller(c) {
		m.lost("baseInstaller "+c.describe(), "An installer is built on %s/%s here; base { registry = \"…\" } takes it, and the boot assets, from another registry.", talos.Registry, m.facts.InstallerBase)
	}
}

// ownInstaller says whether an image is the one that is taken here, too.
func (m *image) ownInstaller(c container) bool {
	version := m.facts.Version.String()
	name := talos.Registry + "/" + m.facts.InstallerBase + ":"
	return c.TarballPath == "" && c.OCIPath == "" && (c.ImageRef == name+version || c.ImageRef == name+strings.TrimPrefix(version, "v"))
}

func (c container) describe() string { return quoted(cmp.Or(c.TarballPath, c.OCIPath, c.ImageRef)) }

// officialImage finds the name of an official image below a registry's namespace.
var officialImage = regexp.MustCompile(`^` + regexp.QuoteMeta(talos.Registry) + `/([^/:@]+)(?:[:@].+)$`)

// imagerExtensions are official by their images' names; others are declared.
func (m *image) imagerExtensions(all []container) {
	var refs []hclwrite.Tokens
	var notes []string
	seen := map[string]bool{}
	add := func(name string, tokens hclwrite.Tokens) {
		if seen[name] {
			notes = append(notes, none("a second "+name, "An image has an extension once."))
			return
		}
		seen[name] = true
		refs = append(refs, tokens)
	}
	for _, c := range all {
		if len(refs) == profile.MaxList {
			notes = append(notes, none("extension "+c.describe(), "A list has at most %d elements.", profile.MaxList))
			continue
		}
		found := officialImage.FindStringSubmatch(c.ImageRef)
		if found != nil && c.TarballPath == "" && c.OCIPath == "" && profile.Official("siderolabs/"+found[1]) {
			name := "siderolabs/" + found[1]
			notes = append(notes, fmt.Sprintf("%s was %s. The catalogue of Talos %s gives its version here, and `mage lock` pins it.", name, quoted(c.ImageRef), m.facts.Version))
			add(name, hclwrite.TokensForValue(cty.StringVal(name)))
			continue
		}
		b := block{name: "extension"}
		if err := m.source(&b, c); err != nil {
			notes = append(notes, none("extension "+c.describe(), "%s", sentence(err)))
			continue
		}
		name := m.declare(&b, c)
		add(name, hclwrite.TokensForIdentifier("extension."+name))
	}
	m.image.list("extensions", refs, notes...)
}

// source gives a block the attribute that says where its image is.
func (m *image) source(b *block, c container) error {
	switch {
	case c.TarballPath != "":
		b.set("tarball", cty.StringVal(c.TarballPath))
	case c.OCIPath != "":
		b.set("oci_layout", cty.StringVal(c.OCIPath))
	case c.ImageRef == "":
		return errors.New("it comes from nowhere")
	default:
		ref, wrong := reference(c.ImageRef)
		if wrong != "" {
			return errors.New(wrong)
		}
		if ref != c.ImageRef {
			b.notes = append(b.notes, fmt.Sprintf("The imager's profile has %s, which stands for this.", quoted(c.ImageRef)))
		}
		b.set("image", cty.StringVal(ref))
		if c.ForceInsecure {
			m.insecure(ref)
		}
	}
	return nil
}

// reference writes out what tools add to a reference: the tag, Docker's host and namespace.
func reference(s string) (ref, wrong string) {
	wrong = profile.Refusal("extension", "image", s)
	if wrong == "" {
		return s, ""
	}
	docker := "docker.io/"
	if !strings.Contains(s, "/") {
		docker += "library/"
	}
	for _, prefix := range []string{"", docker} {
		for _, tag := range []string{"", ":latest"} {
			if ref = prefix + s + tag; profile.Refusal("extension", "image", ref) == "" {
				return ref, ""
			}
		}
	}
	return "", wrong
}

// insecure lets an image's registry be without TLS.
func (m *image) insecure(ref string) {
	host, _, _ := strings.Cut(ref, "/")
	if slices.ContainsFunc(m.others, func(b block) bool { return b.name == "registry" && b.labels[0] == host }) {
		return
	}
	b := block{name: "registry", labels: []string{host}}
	b.set("insecure", cty.True)
	m.others = append(m.others, b)
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// declare names an extension after its image or file, and adds its block, unless the same is there.
func (m *image) declare(b *block, c container) string {
	from, _, _ := strings.Cut(path.Base(cmp.Or(c.TarballPath, c.OCIPath, c.ImageRef)), "@")
	from, _, _ = strings.Cut(from, ":")
	if c.TarballPath != "" {
		from = strings.TrimSuffix(from, path.Ext(from))
	}
	name := strings.Trim(notInNames.ReplaceAllString(from, "-"), "-_")
	name = cmp.Or(name[:min(len(name), 80)], "extension")
	if !hclsyntax.ValidIdentifier(name) { // it begins with a digit
		name = "extension-" + name
	}
	same := func(of string) int {
		return slices.IndexFunc(m.others, func(o block) bool { return o.name == "extension" && o.labels[0] == of })
	}
	for n, unique := 2, name; ; n++ {
		at := same(unique)
		if at < 0 {
			b.labels = []string{unique}
			m.others = append(m.others, *b)
			return unique
		}
		if have := m.others[at].attributes[0]; have.name == b.attributes[0].name && string(have.tokens.Bytes()) == string(b.attributes[0].tokens.Bytes()) {
			return unique
		}
		unique = fmt.Sprintf("%s-%d", name, n)
	}
}

func (m *image) imageCache(c container) {
	switch {
	case c == container{}:
	case c.OCIPath == "" || c.TarballPath != "":
		m.lost("imageCache "+c.describe(), "It is taken from an OCI layout here, as `talosctl images cache-create` writes it: image_cache = \"PATH\".")
	default:
		m.image.set("image_cache", cty.StringVal(c.OCIPath))
	}
}

func (m *image) imagerOverlay(in *imagerFile) {
	o := in.Overlay
	if o == nil {
		if c := in.Input.OverlayInstaller; c != (container{}) {
			m.lost("overlayInstaller "+c.describe(), "There is no overlay that it could belong to.")
		}
		return
	}
	b, ok := m.overlayBlock(cmp.Or(o.Name, "default"))
	if !ok {
		return
	}
	known, err := talos.OverlayImage(o.Name)
	if plain := strings.TrimPrefix(known, "siderolabs/"); err == nil && o.Image.TarballPath == "" && o.Image.OCIPath == "" && strings.HasPrefix(o.Image.ImageRef, talos.Registry+"/"+plain+":") {
		b.notes = append(b.notes, fmt.Sprintf("It was %s. The catalogue of Talos %s gives its version here, and `mage lock` pins it.", quoted(o.Image.ImageRef), m.facts.Version))
	} else if err := m.source(&b, o.Image); err != nil {
		b.notes = append(b.notes, none("image "+o.Image.describe(), "%s", sentence(err)))
	}
	if c := in.Input.OverlayInstaller; c != (container{}) && c != o.Image {
		b.notes = append(b.notes, none("overlayInstaller "+c.describe(), "An installer gets the overlay's own image here, for its architecture."))
	}
	if in.BaseProfileName != "" {
		b.notes = append(b.notes, fmt.Sprintf("The base profile %s was the overlay's; what it says of disks is taken from it here, too.", quoted(in.BaseProfileName)))
	}
	m.overlayOptions(&b, o.Options)
	m.image.blocks = append(m.image.blocks, b)
}
