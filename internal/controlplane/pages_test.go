package controlplane

import (
	"fmt"
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPages reads a list in pages: all of one moment, whatever is deleted meanwhile.
func TestPages(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	w := widgets(t, start(t, cfg)).Namespace("default")
	for i := range 100 {
		if _, err := w.Create(t.Context(), widget(fmt.Sprintf("w%d", i), map[string]any{"size": int64(i + 1)}), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// With limits of 10, 30, 70… kine's own streaming of lists fails.
	for _, limit := range []int64{7, 10, 30, 70} {
		t.Run(fmt.Sprintf("in pages of %d", limit), func(t *testing.T) {
			expected, err := w.List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			options := metav1.ListOptions{Limit: limit}
			first := ""
			for {
				page, err := w.List(t.Context(), options)
				if err != nil {
					t.Fatal(err)
				}
				if first == "" {
					first = page.GetResourceVersion()
					last := expected.Items[len(expected.Items)-1].GetName()
					if err := w.Delete(t.Context(), last, metav1.DeleteOptions{}); err != nil { // pages are of one moment
						t.Fatal(err)
					}
				}
				if page.GetResourceVersion() != first {
					t.Errorf("page of version %s, the first was of %s", page.GetResourceVersion(), first)
				}
				for _, item := range page.Items {
					names = append(names, item.GetName())
				}
				if options.Continue = page.GetContinue(); options.Continue == "" {
					break
				}
			}
			if len(names) != len(expected.Items) || !slices.IsSorted(names) {
				t.Errorf("%d names of %d, sorted %v", len(names), len(expected.Items), slices.IsSorted(names))
			}
		})
	}
}
