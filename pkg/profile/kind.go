package profile

import (
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/talosmith/talosmith/pkg/talos"
)

// kind is what an attribute takes.
type kind struct {
	name string   // as in "takes a string"
	cty  cty.Type // what its values are converted to
	json object   // its JSON Schema, for values that aren't templates
	// decode makes the value of a field, or returns nil after it reported why not. Without it, the block evaluates the expression itself.
	decode func(d *decoder, s *setting, v cty.Value) any
	// fields of each object in a list; or in an object, whose keys obey the rule.
	fields []attribute
	keys   *rule
}

type object = map[string]any

var (
	stringSchema = object{"type": "string"}
	listSchema   = object{"type": "array", "items": stringSchema}
)

var (
	text    = kind{name: "a string", cty: cty.String, json: stringSchema, decode: decodeText}
	texts   = kind{name: "a list of strings", cty: cty.List(cty.String), json: listSchema, decode: decodeTexts}
	boolean = kind{name: "true or false", cty: cty.Bool, json: object{"type": "boolean"},
		decode: func(_ *decoder, _ *setting, v cty.Value) any { return v.True() }}
	size = kind{name: `a size ("8GiB", "512MiB" or a number of bytes)`, cty: cty.String, decode: decodeSize,
		json: object{"type": []string{"string", "integer"}, "pattern": `^[0-9]+(B|KiB|MiB|GiB|TiB)?$`}}
	sectorSize = kind{name: "512 or 4096", cty: cty.Number, json: object{"type": "integer", "enum": talos.SectorSizes()}, decode: decodeSectorSize}

	// Paths are relative to the profile.
	hostFile      = kind{name: "the path of a file", cty: cty.String, json: stringSchema, decode: decodePath(isFile, false)}
	hostArchive   = kind{name: "the path of a file", cty: cty.String, json: stringSchema, decode: unlessBundled(decodePath(isFile, true))}
	hostDirectory = kind{name: "the path of a directory", cty: cty.String, json: stringSchema, decode: decodePath(isDirectory, true)}
	hostLayout    = kind{name: "the path of an OCI layout", cty: cty.String, json: stringSchema, decode: unlessBundled(decodeLayout)}

	extensionRefs = kind{name: "a list of extensions", cty: cty.List(cty.String), json: listSchema, decode: decodeExtensionRefs}

	// Expressions that their block evaluates itself.
	expr           = kind{name: "a value", cty: cty.DynamicPseudoType, json: object{}}
	typeConstraint = kind{name: "a type", json: stringSchema}
)

func decodeText(d *decoder, s *setting, v cty.Value) any {
	if !d.checkString(v.AsString(), s.expr.Range(), s.row.what(), s.row.values, s.row.rule) {
		return nil
	}
	return v.AsString()
}

func decodeTexts(d *decoder, s *setting, v cty.Value) any {
	list := []Text{}
	for _, t := range d.strings(s, v) {
		if d.checkString(t.Value, t.Range, s.row.what(), s.row.values, s.row.rule) {
			list = append(list, t)
		}
	}
	return list
}

// MaxList is how many elements a list of an image has at most, with what it inherits.
const MaxList = 1000

func (k kind) isList() bool { return k.cty == cty.List(cty.String) }

// strings returns the elements of a list that are known. It reports null ones.
func (d *decoder) strings(s *setting, v cty.Value) []Text {
	if !d.countable(s, v) {
		return nil
	}
	var list []Text
	ranges := s.ranges(v.LengthInt())
	for i, element := range v.AsValueSlice() {
		switch {
		case !element.IsKnown(): // what is wrong with it was reported
		case element.IsNull():
			d.add(ranges[i], "Wrong type", "An element of %q is null. Leave it out; compact([…]) does so.", s.row.name)
		default:
			list = append(list, Text{element.AsString(), ranges[i]})
		}
	}
	return list
}

// MaxDiskSize is the size in bytes of the largest disk: no file system that we write is larger.
const MaxDiskSize = 16 << 40

// minDiskSize in bytes: below, no Talos fits.
const minDiskSize = 64 << 20

var (
	sizePattern = regexp.MustCompile(`^([0-9]+) *(B|KiB|MiB|GiB|TiB|)$`)
	sizeUnits   = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	looseSize   = regexp.MustCompile(`(?i)^([0-9]+(?:\.[0-9]+)?) *([kmgt])(b|i|ib|)$`)
)

// decodeSize refuses "8GB" on purpose: half of all tools take it for 8×10⁹ bytes, the other half for 8×2³⁰.
func decodeSize(d *decoder, s *setting, v cty.Value) any {
	const summary = "Bad size"
	written, at := v.AsString(), s.expr.Range()
	m := sizePattern.FindStringSubmatch(written)
	if m == nil {
		d.add(at, summary, "%s is not a size. %s", quote(written), sizeRemedy(written))
		return nil
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := sizeUnits[m[2]]
	switch {
	case err != nil || n > MaxDiskSize/unit:
		d.add(at, summary, "%s is more than a disk can have, 16TiB.", quote(written))
		return nil
	case n*unit < minDiskSize:
		d.add(at, summary, "%s is %d bytes, but no disk with Talos is smaller than 64MiB.", quote(written), n*unit)
		return nil
	case n*unit%talos.SectorSizes()[0] != 0:
		d.add(at, summary,
			"%s is not a multiple of %d bytes, a disk's sector. Write \"%dMiB\".", quote(written), talos.SectorSizes()[0], n*unit>>20+1) // which every format can have
		return nil
	}
	return n * unit
}

func decodeSectorSize(d *decoder, s *setting, v cty.Value) any {
	for _, n := range talos.SectorSizes() {
		if v.RawEquals(cty.NumberIntVal(n)) {
			return n
		}
	}
	d.add(s.expr.Range(), "Bad size", "Disks have sectors of 512 or of 4096 bytes, not of %s. Write sector_size = 4096, or leave it out.", v.AsBigFloat().Text('g', 10))
	return nil
}

func sizeRemedy(written string) string {
	m := looseSize.FindStringSubmatch(strings.TrimSpace(written))
	if m == nil {
		return `Write a whole number with a unit, such as "8GiB" or "512MiB", or the number of bytes.`
	}
	unit := strings.ToUpper(m[2]) + "iB"
	if f, err := strconv.ParseFloat(m[1], 64); err == nil && f != math.Trunc(f) {
		smaller := map[string]string{"TiB": "GiB", "GiB": "MiB", "MiB": "KiB", "KiB": "B"}[unit]
		return "Write a whole number: \"" + strconv.FormatFloat(f*1024, 'f', 0, 64) + smaller + "\"."
	}
	decimal := map[string]int64{"KiB": 1e3, "MiB": 1e6, "GiB": 1e9, "TiB": 1e12}[unit]
	if strings.EqualFold(m[3], "b") {
		if n, ok := new(big.Int).SetString(m[1], 10); ok {
			return "Write \"" + m[1] + unit + "\", or " + n.Mul(n, big.NewInt(decimal)).String() + " if powers of ten are meant."
		}
	}
	return "Write \"" + m[1] + unit + "\"."
}

func isFile(st os.FileInfo) string {
	switch {
	case st.IsDir():
		return "is a directory, not a file"
	case !st.Mode().IsRegular():
		return "is not a regular file"
	}
	return ""
}

func isDirectory(st os.FileInfo) string {
	if !st.IsDir() {
		return "is not a directory"
	}
	return ""
}

func isFileOrDirectory(st os.FileInfo) string {
	if st.IsDir() {
		return ""
	}
	return isFile(st)
}

// decodePath joins a path with the profile's directory.
func decodePath(is func(os.FileInfo) string, patterns bool) func(*decoder, *setting, cty.Value) any {
	return func(d *decoder, s *setting, v cty.Value) any {
		full, wrong := d.path(v.AsString(), is, patterns)
		if wrong != "" {
			d.add(s.expr.Range(), "Bad path", "%s", wrong)
			return nil
		}
		return full
	}
}

// decodeLayout decodes the path of an OCI layout, with what chooses one of its images: "PATH:TAG" or "PATH@sha256:…".
func decodeLayout(d *decoder, s *setting, v cty.Value) any {
	name, selector := v.AsString(), ""
	i := strings.LastIndexByte(name, ':')
	if at := strings.LastIndex(name, "@sha256:"); at >= 0 {
		i = at
	}
	if _, err := os.Stat(d.join(name)); err != nil && i > 0 && !strings.Contains(name[i:], "/") {
		name, selector = name[:i], name[i:]
	}
	full, wrong := d.path(name, isFileOrDirectory, true)
	if wrong != "" {
		d.add(s.expr.Range(), "Bad path", "%s", wrong)
		return nil
	}
	return full + selector
}

// unlessBundled decodes what need not be there where a bundle may have it.
func unlessBundled(decode func(*decoder, *setting, cty.Value) any) func(*decoder, *setting, cty.Value) any {
	return func(d *decoder, s *setting, v cty.Value) any {
		must := d.mustExist
		d.mustExist = must && !d.bundled
		of := decode(d, s, v)
		d.mustExist = must
		return of
	}
}

// path joins a path with the profile's directory, or says what is wrong with it. Where patterns are allowed, one must match exactly one name. If
// files need not exist, only how it is written is looked at.
func (d *decoder) path(name string, is func(os.FileInfo) string, patterns bool) (full, wrong string) {
	full = d.join(name)
	switch {
	case name == "":
		return "", "A path can't be empty."
	case strings.Contains(name, "\x00") || len(name) > maxPath:
		return "", fmt.Sprintf("%s is not a path that a system takes: at most %d bytes, no NUL.", quote(name), maxPath)
	}
	st, err := os.Stat(full)
	if err != nil && patterns && strings.ContainsAny(name, "*?[") {
		found, wrong := d.match(name, full)
		if wrong != "" {
			return full, d.ifNeeded(wrong)
		}
		full = found
		st, err = os.Stat(full)
	}
	switch {
	case os.IsNotExist(err):
		return full, d.ifNeeded("There is no " + filepath.ToSlash(full) + ". Paths are relative to the profile.")
	case err != nil:
		return full, d.ifNeeded("Can't read " + filepath.ToSlash(full) + ": " + cause(err) + ".")
	}
	if wrong := is(st); wrong != "" {
		return full, d.ifNeeded(filepath.ToSlash(full) + " " + wrong + ".")
	}
	return full, ""
}

// ifNeeded is what is wrong with a file, if files must exist.
func (d *decoder) ifNeeded(wrong string) string {
	if d.mustExist {
		return wrong
	}
	return ""
}

// architectures are the ways in which file names call them.
var architectures = map[string][]string{talos.AMD64: {"amd64", "x86_64"}, talos.ARM64: {"arm64", "aarch64"}}

// match finds the one file that a pattern means; of several, in an extension, the one whose name has the architecture in it.
func (d *decoder) match(name, pattern string) (found, wrong string) {
	all, err := filepath.Glob(pattern)
	switch {
	case err != nil:
		return "", quote(name) + " is not a pattern: a \"[\" lacks its \"]\"."
	case len(all) == 0:
		return "", "Nothing matches " + quote(name) + " (" + filepath.ToSlash(pattern) + "). Paths are relative to the profile."
	case len(all) == 1:
		return all[0], ""
	}
	of := slices.DeleteFunc(slices.Clone(all), func(file string) bool {
		return !slices.ContainsFunc(architectures[d.arch], func(word string) bool { return strings.Contains(filepath.Base(file), word) })
	})
	if len(of) == 1 {
		return of[0], ""
	}
	wrong = fmt.Sprintf("%d names match %s, such as %s. Make it match one", len(all), quote(name), list(all[:2], "and"))
	if d.arch != "" {
		wrong += fmt.Sprintf(", or exactly one with %q in its name (there are %d)", d.arch, len(of))
	}
	return "", wrong + "."
}

func (d *decoder) join(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(d.dir, name)
}

// what is how a diagnostic calls an attribute's value, or one of its values.
func (a *attribute) what() string {
	switch {
	case a.noun != "":
		return a.noun
	case a.kind.isList():
		return strings.TrimSuffix(a.name, "s")
	}
	return a.name
}

// object checks the fields of an object and converts them; nil after it reported what is wrong.
func (d *decoder) object(at hcl.Range, what string, fields []attribute, v cty.Value) map[string]cty.Value {
	const summary = "Bad value"
	if v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		d.add(at, summary, "%s is an object, not %s. Write { %s = … }.", title(what), describe(v), fields[0].name)
		return nil
	}
	ok := true
	out := map[string]cty.Value{}
	given := v.AsValueMap()
	for _, name := range sortedKeys(given) {
		i := fieldIndex(fields, name)
		if i < 0 {
			d.add(at, "Unknown attribute", "%s has no %s. %s", title(what), quote(name), didYouMean(name, fieldNames(fields)))
			ok = false
			continue
		}
		if given[name].IsNull() {
			continue
		}
		converted, err := convert.Convert(given[name], fields[i].kind.cty)
		if err != nil {
			d.add(at, "Wrong type", "%q of %s takes %s, not %s.", name, what, fields[i].kind.name, describe(given[name]))
			ok = false
			continue
		}
		out[name] = converted
		ok = d.field(at, &fields[i], converted) && ok
	}
	for _, f := range fields {
		if there, written := given[f.name]; f.required && (!written || there.IsNull()) {
			d.add(at, "Missing attribute", "%s needs %q: %s", title(what), f.name, f.doc)
			ok = false
		}
	}
	if !ok {
		return nil
	}
	return out
}

// field checks the strings of a field.
func (d *decoder) field(at hcl.Range, f *attribute, v cty.Value) bool {
	ok := true
	var all []string
	switch {
	case f.kind.isList():
		all = strs(v)
	case f.kind.cty == cty.String:
		all = []string{v.AsString()}
	}
	for _, s := range all {
		ok = d.checkString(s, at, f.what(), f.values, f.rule) && ok
	}
	return ok
}
