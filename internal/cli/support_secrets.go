package cli

import (
	"encoding/base64"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seed-192657fa/rdd/internal/bundle"
)

func listAll() metav1.ListOptions { return metav1.ListOptions{} }

// secretsOf are the secrets among the API's objects: what Secrets hold, parameters of VMs whose names are those of secrets, and the
// like in templates and ConfigMaps.
func secretsOf(objects map[string]*unstructured.UnstructuredList) (values []string) {
	each := func(resource string, do func(object map[string]any)) {
		if list := objects[resource]; list != nil {
			for i := range list.Items {
				do(list.Items[i].Object)
			}
		}
	}
	each("secrets", func(object map[string]any) {
		data, _, _ := unstructured.NestedStringMap(object, "data")
		for _, value := range data {
			values = append(values, value)
			if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
				values = append(values, string(plain))
			}
		}
	})
	each("limavms", func(object map[string]any) { values = append(values, namedSecrets(object)...) })
	each("configmaps", func(object map[string]any) {
		data, _, _ := unstructured.NestedStringMap(object, "data")
		for key, value := range data {
			if bundle.LooksSecret(key) {
				values = append(values, value)
			}
			var parsed any
			if yaml.Unmarshal([]byte(value), &parsed) == nil { // a template, or anything else
				values = append(values, namedSecrets(parsed)...)
			}
		}
	})
	return values
}

// namedSecrets are the texts in a tree whose keys look like those of secrets.
func namedSecrets(tree any) (values []string) {
	switch node := tree.(type) {
	case map[string]any:
		for key, below := range node {
			if text, ok := below.(string); ok && bundle.LooksSecret(key) {
				values = append(values, text)
			} else {
				values = append(values, namedSecrets(below)...)
			}
		}
	case []any:
		for _, below := range node {
			values = append(values, namedSecrets(below)...)
		}
	}
	return values
}
