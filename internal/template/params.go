package template

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MergeParams sets values of the template's `param` map. A parameter that the template does not have is an error, because
// nothing in the template could use it.
func MergeParams(content []byte, params map[string]string) ([]byte, error) {
	if len(params) == 0 {
		return content, nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, &SyntaxError{Message: flatten(err.Error())}
	}
	known := map[string]*yaml.Node{}
	if param := field(&document, "param"); param != nil && param.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(param.Content); i += 2 {
			known[param.Content[i].Value] = param.Content[i+1]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("the template has no parameter %q; %s", name, listing(known))
		}
		value.SetString(params[name])
		value.Tag, value.Style = "!!str", yaml.DoubleQuotedStyle
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&document); err != nil {
		return nil, fmt.Errorf("cannot write the template with its parameters: %w", err)
	}
	return out.Bytes(), nil
}

func field(document *yaml.Node, name string) *yaml.Node {
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	root := document.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == name {
			return root.Content[i+1]
		}
	}
	return nil
}

func listing(known map[string]*yaml.Node) string {
	if len(known) == 0 {
		return "it has none"
	}
	return "it has " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}
