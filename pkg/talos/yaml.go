package talos

import (
	"bytes"
	"errors"
	"fmt"
	"io"

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
