package talos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// YAMLLimits bound what a YAML file from outside may cost: the decoder compares the keys of a mapping each with each, and does so again
// for each alias of it.
type YAMLLimits struct {
	Bytes, Keys int
}

// maxAliases is the number of aliases ("*name") in a file.
const maxAliases = 100

// DecodeYAML reads the first document of a YAML file; an empty file leaves out as it is. A [*yaml.Node] as out gets the document's content.
func DecodeYAML(file []byte, limits YAMLLimits, out any) error {
	if len(file) > limits.Bytes {
		return fmt.Errorf("%d bytes, the limit is %d", len(file), limits.Bytes)
	}
	var document yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(file)).Decode(&document); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	aliases := 0
	if err := checkYAML(&document, limits.Keys, &aliases); err != nil {
		return err
	}
	if node, ok := out.(*yaml.Node); ok {
		*node = *document.Content[0]
		return nil
	}
	return document.Decode(out)
}

func checkYAML(n *yaml.Node, maxKeys int, aliases *int) error {
	if n.Kind == yaml.AliasNode {
		if *aliases++; *aliases > maxAliases {
			return fmt.Errorf("line %d: more than %d aliases", n.Line, maxAliases)
		}
		return nil
	}
	if n.Kind == yaml.MappingNode && len(n.Content)/2 > maxKeys {
		return fmt.Errorf("line %d: a mapping with %d keys, the limit is %d", n.Line, len(n.Content)/2, maxKeys)
	}
	for _, kid := range n.Content {
		if err := checkYAML(kid, maxKeys, aliases); err != nil {
			return err
		}
	}
	return nil
}

// DecodeStrictYAML reads a file of exactly one document into a struct. What the struct has no field for is an error, each with its line.
func DecodeStrictYAML(file []byte, limits YAMLLimits, out any) error {
	var n yaml.Node
	if err := DecodeYAML(file, limits, &n); err != nil {
		return err
	}
	if n.Kind == 0 {
		return errors.New("it says nothing")
	}
	if n.Kind != yaml.MappingNode && n.Tag != "!!null" {
		return fmt.Errorf("line %d: want keys with values (key: value) at the top", n.Line)
	}
	d := yaml.NewDecoder(bytes.NewReader(file))
	d.KnownFields(true)
	err := errors.Join(unknownKeys(&n, reflect.TypeOf(out))...)
	if err == nil {
		err = byLine(d.Decode(out))
	}
	if err != nil {
		return err
	}
	if err := d.Decode(&n); err == nil {
		return fmt.Errorf("line %d: a second document begins here: there can be one", n.Line)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// byLine takes apart what the decoder says of several lines.
func byLine(err error) error {
	var all *yaml.LoadErrors
	if !errors.As(err, &all) {
		return err
	}
	var errs []error
	for _, e := range all.Errors {
		errs = append(errs, fmt.Errorf("line %d: %w", e.Line, e.Err))
	}
	return errors.Join(errs...)
}

// unknownKeys are those of mappings that a type has no fields for.
func unknownKeys(n *yaml.Node, t reflect.Type) (errs []error) {
	switch {
	case t.Kind() == reflect.Pointer:
		return unknownKeys(n, t.Elem())
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, kid := range n.Content {
			errs = append(errs, unknownKeys(kid, t.Elem())...)
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		fields := map[string]reflect.Type{}
		var names []string
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			fields[name] = f.Type
			names = append(names, name)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			field, known := fields[key.Value]
			switch {
			case key.Kind != yaml.ScalarNode || key.Tag == mergeTag: // the decoder's business
			case known:
				errs = append(errs, unknownKeys(n.Content[i+1], field)...)
			default:
				errs = append(errs, fmt.Errorf("line %d: %w", key.Line, unknown("key", key.Value, names)))
			}
		}
	}
	return errs
}

// mergeTag is that of the key "<<".
const mergeTag = "!!merge"
