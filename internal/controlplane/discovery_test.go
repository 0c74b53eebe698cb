package controlplane

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
)

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	var status int
	body, err := client(t, s).RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").Do(t.Context()).StatusCode(&status).Raw()
	if err != nil && status == 0 {
		t.Fatal(err)
	}
	return status, string(body)
}

func TestDiscovery(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	s := start(t, cfg)
	want := []string{
		"admissionregistration.k8s.io", "apiextensions.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
		"coordination.k8s.io", "events.k8s.io", "example.rdd.dev", "rbac.authorization.k8s.io",
	}
	t.Run("list of groups", func(t *testing.T) {
		_, body := get(t, s, "/apis")
		var groups metav1.APIGroupList
		if err := json.Unmarshal([]byte(body), &groups); err != nil {
			t.Fatal(err)
		}
		found := map[string]metav1.APIGroup{}
		for _, g := range groups.Groups {
			found[g.Name] = g
		}
		for _, name := range want {
			if found[name].PreferredVersion.Version != "v1" {
				t.Errorf("%s: %v", name, found[name])
			}
		}
		if groups.Kind != "APIGroupList" {
			t.Errorf("kind %q", groups.Kind)
		}
	})
	for name, legacy := range map[string]bool{"aggregated": false, "legacy": true} {
		t.Run(name, func(t *testing.T) {
			c := discovery.NewDiscoveryClient(client(t, s).RESTClient())
			c.UseLegacyDiscovery = legacy
			groups, resources, err := c.ServerGroupsAndResources()
			if err != nil {
				t.Fatal(err)
			}
			if len(groups) != len(want)+1 {
				t.Errorf("%d groups, want %d", len(groups), len(want)+1)
			}
			found := map[string]bool{}
			for _, list := range resources {
				for _, r := range list.APIResources {
					found[list.GroupVersion+"/"+r.Name] = true
				}
			}
			for _, r := range []string{
				"v1/namespaces", "v1/namespaces/finalize", "v1/configmaps", "v1/secrets", "v1/events", "v1/serviceaccounts", "v1/serviceaccounts/token",
				"rbac.authorization.k8s.io/v1/clusterroles", "coordination.k8s.io/v1/leases", "events.k8s.io/v1/events",
				"admissionregistration.k8s.io/v1/validatingadmissionpolicies", "apiextensions.k8s.io/v1/customresourcedefinitions",
				"example.rdd.dev/v1/widgets", "example.rdd.dev/v1/widgets/status",
			} {
				if !found[r] {
					t.Errorf("no %s", r)
				}
			}
			if found["admissionregistration.k8s.io/v1/mutatingadmissionpolicies"] || found["v1/pods"] {
				t.Error("more than there should be")
			}
		})
	}
	t.Run("a definition that comes and goes", func(t *testing.T) {
		crds := s.api.clients.crds.ApiextensionsV1().CustomResourceDefinitions()
		other := crd("others", "Other")
		other.Spec.Group = "other.rdd.dev"
		other.Name = "others.other.rdd.dev"
		if err := ensureCRDs(t.Context(), s.api.clients, s.api.discovery, []*apiextensionsv1.CustomResourceDefinition{other}); err != nil {
			t.Fatal(err)
		}
		if _, body := get(t, s, "/apis"); !strings.Contains(body, "other.rdd.dev") {
			t.Error("it is not listed")
		}
		if err := crds.Delete(t.Context(), other.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is listed no more", func() (bool, error) {
			_, body := get(t, s, "/apis")
			return !strings.Contains(body, "other.rdd.dev"), nil
		})
	})
}

func TestOpenAPI(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	s := start(t, cfg)
	eventually(t, "the definition is published", func() (bool, error) {
		_, body := get(t, s, "/openapi/v3")
		return strings.Contains(body, "apis/example.rdd.dev/v1"), nil
	})
	_, body := get(t, s, "/openapi/v3/apis/example.rdd.dev/v1")
	for _, want := range []string{"Size of the widget, in millimetres.", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q", want)
		}
	}
	// Every document can be built: a definition that is missing shows only then.
	_, body = get(t, s, "/openapi/v3")
	var root struct{ Paths map[string]any }
	if err := json.Unmarshal([]byte(body), &root); err != nil {
		t.Fatal(err)
	}
	if len(root.Paths) < 12 {
		t.Errorf("%d documents", len(root.Paths))
	}
	for path := range root.Paths {
		status, body := get(t, s, "/openapi/v3/"+path)
		if status != http.StatusOK || !json.Valid([]byte(body)) {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestHealth(t *testing.T) {
	s := start(t, testConfig(t))
	for _, path := range []string{
		"/healthz", "/livez", "/readyz", "/healthz/ping", "/healthz/etcd", "/readyz/etcd", "/readyz/rdd-start",
		"/readyz/informer-sync", "/livez/poststarthook/start-apiextensions-controllers", "/readyz/poststarthook/crd-informer-synced",
	} {
		if status, body := get(t, s, path); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := get(t, s, "/readyz/no-such-check"); status != http.StatusNotFound {
		t.Errorf("a check that does not exist: %d", status)
	}
	if status, _ := get(t, s, "/no/such/path"); status != http.StatusNotFound {
		t.Errorf("a path that does not exist: %d", status)
	}
}

func TestDefinitions(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = manyCRDs(14)
	s := start(t, cfg)
	w := widgets(t, s).Namespace("default")
	create := func(name string, spec map[string]any, options metav1.CreateOptions) (*unstructured.Unstructured, error) {
		return w.Create(t.Context(), widget(name, spec), options)
	}
	strict := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}

	if _, err := create("typo", map[string]any{"sise": int64(1)}, strict); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "spec.sise"`) {
		t.Errorf("unknown field: %v", err)
	}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if _, err := create("dry", map[string]any{"size": int64(1)}, dry); err != nil {
		t.Error(err)
	}
	if _, err := w.Get(t.Context(), "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run left something: %v", err)
	}
	if _, err := create("round", map[string]any{"size": int64(1), "shape": "round"}, strict); err != nil {
		t.Fatal(err)
	}
	_, err := w.Patch(t.Context(), "round", types.MergePatchType, []byte(`{"spec":{"shape":"square"}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "the shape of a widget cannot change") {
		t.Errorf("rule: %v", err)
	}
	// The status is a subresource: neither write touches the other's part.
	if _, err := w.Patch(t.Context(), "round", types.MergePatchType, []byte(`{"spec":{"size":2},"status":{"phase":"no"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := w.Patch(t.Context(), "round", types.MergePatchType, []byte(`{"spec":{"size":3},"status":{"phase":"yes"}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if size, _, _ := unstructured.NestedInt64(got.Object, "spec", "size"); size != 2 {
		t.Errorf("size %d", size)
	}
	if phase, _, _ := unstructured.NestedString(got.Object, "status", "phase"); phase != "yes" {
		t.Errorf("phase %q", phase)
	}

	// A stricter version of the definition comes with an upgrade.
	stop(t, s)
	stricter := widgetCRD()
	minimum := 10.0
	schema := stricter.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	size := schema.Properties["size"]
	size.Minimum = &minimum
	schema.Properties["size"] = size
	schema.Properties["weight"] = apiextensionsv1.JSONSchemaProps{Type: "integer"}
	cfg.CRDs[0] = stricter
	s = start(t, cfg)
	w = widgets(t, s).Namespace("default")
	if _, err := w.Patch(t.Context(), "round", types.MergePatchType, []byte(`{"spec":{"weight":4}}`), metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
		t.Errorf("an old object can be changed where the change is sound: %v", err)
	}
	if _, err := w.Patch(t.Context(), "round", types.MergePatchType, []byte(`{"spec":{"size":5}}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("but not against the new rule: %v", err)
	}

	t.Run("names that are taken", func(t *testing.T) {
		rival := crd("rivals", "Widget")
		err := ensureCRDs(t.Context(), s.api.clients, s.api.discovery, []*apiextensionsv1.CustomResourceDefinition{rival})
		if err == nil || !strings.Contains(err.Error(), "not accepted") {
			t.Errorf("want a refusal, got %v", err)
		}
	})
	t.Run("unchanged", func(t *testing.T) {
		crds := s.api.clients.crds.ApiextensionsV1().CustomResourceDefinitions()
		before, err := crds.Get(t.Context(), stricter.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := ensureCRDs(t.Context(), s.api.clients, s.api.discovery, cfg.CRDs); err != nil {
			t.Fatal(err)
		}
		after, err := crds.Get(t.Context(), stricter.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if after.ResourceVersion != before.ResourceVersion {
			t.Error("it was written without need")
		}
	})
}
