package crd_test

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/seed-192657fa/rdd/config/crd"
)

func TestAllNamesShortNameCategoryAndStatus(t *testing.T) {
	all, err := crd.All()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 {
		t.Fatalf("got %d CRDs, want 1", len(all))
	}
	got := all[0]
	if got.Name != "limavms.lima.rancherdesktop.io" {
		t.Errorf("name is %q", got.Name)
	}
	names := got.Spec.Names
	if len(names.ShortNames) != 1 || names.ShortNames[0] != "lvm" {
		t.Errorf("short names are %q, want lvm", names.ShortNames)
	}
	if len(names.Categories) != 1 || names.Categories[0] != "all" {
		t.Errorf("categories are %q, want all", names.Categories)
	}
	if got.Spec.Scope != apiextensionsv1.NamespaceScoped {
		t.Errorf("scope is %q", got.Spec.Scope)
	}
	if version := got.Spec.Versions[0]; version.Subresources == nil || version.Subresources.Status == nil {
		t.Error("the status subresource is missing")
	}
}

// kubectl explain shows these: each field needs a sentence.
func TestEveryFieldIsDescribed(t *testing.T) {
	all, err := crd.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, definition := range all {
		for _, version := range definition.Spec.Versions {
			for _, root := range []string{"spec", "status"} {
				described(t, root, version.Schema.OpenAPIV3Schema.Properties[root])
			}
		}
	}
}

func described(t *testing.T, path string, schema apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if strings.TrimSpace(schema.Description) == "" {
		t.Errorf("%s has no description", path)
	}
	for name, property := range schema.Properties {
		described(t, path+"."+name, property)
	}
}
