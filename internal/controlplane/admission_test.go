package controlplane

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

// step is an Admission made of functions.
type step struct {
	handles func(gvr schema.GroupVersionResource, op admissionv1.Operation) bool
	review  func(ctx context.Context, req *admissionv1.AdmissionRequest) ([]byte, error)
}

func (step) Name() string { return "test" }

func (s step) Handles(gvr schema.GroupVersionResource, op admissionv1.Operation) bool {
	return s.handles(gvr, op)
}

func (s step) Review(ctx context.Context, req *admissionv1.AdmissionRequest) ([]byte, error) {
	return s.review(ctx, req)
}

// reviews collects the requests that a step gets.
type reviews struct {
	mu  sync.Mutex
	all []*admissionv1.AdmissionRequest
}

func (r *reviews) add(req *admissionv1.AdmissionRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, req)
}

func (r *reviews) last(t *testing.T) *admissionv1.AdmissionRequest {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		t.Fatal("no review")
	}
	return r.all[len(r.all)-1]
}

func startWithStep(t *testing.T, s step) *Server {
	t.Helper()
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	cfg.Admission = []Admission{s}
	return start(t, cfg)
}

func TestAdmissionSeesRequests(t *testing.T) {
	var seen reviews
	s := startWithStep(t, step{
		handles: func(gvr schema.GroupVersionResource, _ admissionv1.Operation) bool {
			return strings.HasPrefix(gvr.Resource, "widgets") || gvr == corev1.SchemeGroupVersion.WithResource("configmaps")
		},
		review: func(_ context.Context, req *admissionv1.AdmissionRequest) ([]byte, error) {
			seen.add(req)
			return nil, nil
		},
	})
	w := widgets(t, s).Namespace("default")
	if _, err := w.Create(t.Context(), widget("one", map[string]any{"size": int64(1)}), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	req := seen.last(t)
	if !*req.DryRun || req.Operation != admissionv1.Create || req.Name != "one" || req.Namespace != "default" || req.Kind.Kind != "Widget" || req.Resource.Resource != "widgets" {
		t.Errorf("request %+v", req)
	}
	if req.UserInfo.Username != "system:apiserver" {
		t.Errorf("user %v", req.UserInfo)
	}
	var object unstructured.Unstructured
	if err := json.Unmarshal(req.Object.Raw, &object); err != nil {
		t.Fatal(err)
	}
	if color, _, _ := unstructured.NestedString(object.Object, "spec", "color"); color != "grey" {
		t.Errorf("defaults are not there yet: %s", req.Object.Raw)
	}
	if len(req.OldObject.Raw) != 0 {
		t.Errorf("old object %s", req.OldObject.Raw)
	}

	if _, err := w.Create(t.Context(), widget("one", map[string]any{"size": int64(1)}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Patch(t.Context(), "one", types.MergePatchType, []byte(`{"spec":{"size":2}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	req = seen.last(t)
	if req.Operation != admissionv1.Update || !strings.Contains(string(req.OldObject.Raw), `"size":1`) || !strings.Contains(string(req.Object.Raw), `"size":2`) {
		t.Errorf("update: %s → %s", req.OldObject.Raw, req.Object.Raw)
	}
	if _, err := w.Patch(t.Context(), "one", types.MergePatchType, []byte(`{"status":{"phase":"x"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if req = seen.last(t); req.SubResource != "status" {
		t.Errorf("status: %+v", req)
	}
	if err := w.Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	req = seen.last(t)
	if req.Operation != admissionv1.Delete || len(req.Object.Raw) != 0 || !strings.Contains(string(req.OldObject.Raw), `"one"`) {
		t.Errorf("delete: %+v", req)
	}

	createConfigMap(t, client(t, s), "default", "settings")
	req = seen.last(t)
	var cm corev1.ConfigMap
	if err := json.Unmarshal(req.Object.Raw, &cm); err != nil || cm.Name != "settings" || cm.APIVersion != "v1" || cm.Kind != "ConfigMap" {
		t.Errorf("config map: %v, %s", err, req.Object.Raw)
	}
}

func TestAdmissionDenies(t *testing.T) {
	s := startWithStep(t, step{
		handles: func(_ schema.GroupVersionResource, op admissionv1.Operation) bool { return op == admissionv1.Create },
		review: func(_ context.Context, req *admissionv1.AdmissionRequest) ([]byte, error) {
			switch req.Name {
			case "plain":
				return nil, errors.New("not today")
			case "status":
				return nil, fmt.Errorf("wrapped: %w", apierrors.NewServiceUnavailable("come back later"))
			case "broken":
				return []byte("{"), nil
			}
			return nil, nil
		},
	})
	c := client(t, s)
	create := func(name string) error {
		_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
	if err := create("plain"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "test: not today") {
		t.Error(err)
	}
	if err := create("status"); !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "come back later") {
		t.Error(err)
	}
	if err := create("broken"); !apierrors.IsInternalError(err) {
		t.Error(err)
	}
	if err := create("fine"); err != nil {
		t.Error(err)
	}
}

func TestAdmissionChanges(t *testing.T) {
	label := func(raw []byte) ([]byte, error) {
		var u unstructured.Unstructured
		if err := u.UnmarshalJSON(raw); err != nil {
			return nil, err
		}
		u.SetLabels(map[string]string{"touched": "yes"})
		return u.MarshalJSON()
	}
	s := startWithStep(t, step{
		handles: func(gvr schema.GroupVersionResource, op admissionv1.Operation) bool {
			return (gvr.Resource == "widgets" || gvr.Resource == "configmaps") && op != admissionv1.Delete
		},
		review: func(_ context.Context, req *admissionv1.AdmissionRequest) ([]byte, error) {
			return label(req.Object.Raw)
		},
	})
	w := widgets(t, s).Namespace("default")
	got, err := w.Create(t.Context(), widget("one", map[string]any{"size": int64(1)}), metav1.CreateOptions{})
	if err != nil || got.GetLabels()["touched"] != "yes" {
		t.Errorf("widget: %v, %v", got, err)
	}
	if got, err = w.Get(t.Context(), "one", metav1.GetOptions{}); err != nil || got.GetLabels()["touched"] != "yes" {
		t.Errorf("stored: %v, %v", got, err)
	}
	if cm := createConfigMap(t, client(t, s), "default", "settings"); cm.Labels["touched"] != "yes" {
		t.Errorf("config map: %v", cm)
	}
	// What is changed is validated like anything else.
	if _, err := w.Patch(t.Context(), "one", types.ApplyPatchType, []byte(`{"apiVersion":"example.rdd.dev/v1","kind":"Widget","spec":{"size":4}}`),
		metav1.PatchOptions{FieldManager: "test", Force: new(true)}); err != nil {
		t.Error(err)
	}
}

// TestAdmissionUsesLoopback is what a step that looks at other objects does, in the middle of a request.
func TestAdmissionUsesLoopback(t *testing.T) {
	var s *Server
	ready := make(chan struct{})
	s = startWithStep(t, step{
		handles: func(gvr schema.GroupVersionResource, _ admissionv1.Operation) bool { return gvr.Resource == "widgets" },
		review: func(ctx context.Context, _ *admissionv1.AdmissionRequest) ([]byte, error) {
			<-ready
			_, err := s.api.clients.kube.CoreV1().ConfigMaps("default").Get(ctx, "permission", metav1.GetOptions{})
			return nil, err
		},
	})
	close(ready)
	w := widgets(t, s).Namespace("default")
	if _, err := w.Create(t.Context(), widget("one", map[string]any{}), metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("without permission: %v", err)
	}
	createConfigMap(t, client(t, s), "default", "permission")
	if _, err := w.Create(t.Context(), widget("one", map[string]any{}), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

// TestWebhooks are those of others: they are called over TLS, before our own steps.
func TestWebhooks(t *testing.T) {
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: review.Request.Name != "denied"}
		if r.URL.Path == "/mutate" {
			patch := admissionv1.PatchTypeJSONPatch
			response.PatchType, response.Patch = &patch, []byte(`[{"op":"add","path":"/spec/color","value":"pink"}]`)
		}
		if !response.Allowed {
			response.Result = &metav1.Status{Message: "the hook says no"}
		}
		review.Request, review.Response = nil, response
		_ = json.NewEncoder(w).Encode(review)
	}))
	defer hook.Close()
	var seen reviews
	s := startWithStep(t, step{
		handles: func(gvr schema.GroupVersionResource, _ admissionv1.Operation) bool { return gvr.Resource == "widgets" },
		review: func(_ context.Context, req *admissionv1.AdmissionRequest) ([]byte, error) {
			seen.add(req)
			return nil, nil
		},
	})
	c := client(t, s)
	clientConfig := func(path string) admissionregistrationv1.WebhookClientConfig {
		return admissionregistrationv1.WebhookClientConfig{URL: new(hook.URL + path), CABundle: certificatePEM(hook.Certificate())}
	}
	rules := []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{widgetResource.Group}, APIVersions: []string{"*"}, Resources: []string{"widgets"}},
	}}
	none := admissionregistrationv1.SideEffectClassNone
	if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "hook"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutate.example.rdd.dev", ClientConfig: clientConfig("/mutate"), Rules: rules, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "hook"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "validate.example.rdd.dev", ClientConfig: clientConfig("/validate"), Rules: rules, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w := widgets(t, s).Namespace("default")
	eventually(t, "both hooks are called", func() (bool, error) {
		dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		_, denied := w.Create(t.Context(), widget("denied", map[string]any{}), dry)
		got, err := w.Create(t.Context(), widget("allowed", map[string]any{}), dry)
		if err != nil {
			return false, err
		}
		color, _, _ := unstructured.NestedString(got.Object, "spec", "color")
		return denied != nil && strings.Contains(denied.Error(), "the hook says no") && color == "pink", nil
	})
	if req := seen.last(t); !strings.Contains(string(req.Object.Raw), `"pink"`) {
		t.Errorf("our step saw the object before the hook changed it: %s", req.Object.Raw)
	}
}

func certificatePEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func TestValidatingAdmissionPolicy(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	s := start(t, cfg)
	c := client(t, s).AdmissionregistrationV1()
	fail := admissionregistrationv1.Fail
	if _, err := c.ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{widgetResource.Group}, APIVersions: []string{"*"}, Resources: []string{"widgets"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.size < 100", Message: "too big"}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "small", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w := widgets(t, s).Namespace("default")
	eventually(t, "the policy denies", func() (bool, error) {
		_, err := w.Create(t.Context(), widget("big", map[string]any{"size": int64(500)}), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "too big"), nil
	})
	if _, err := w.Create(t.Context(), widget("fits", map[string]any{"size": int64(5)}), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

// BenchmarkReview is what a step costs a write, without what it does itself.
func BenchmarkReview(b *testing.B) {
	obj := widget("one", map[string]any{"size": int64(1), "color": strings.Repeat("x", 1000)})
	a := &admission.VersionedAttributes{
		Attributes: admission.NewAttributesRecord(obj, nil, obj.GroupVersionKind(), "default", "one", widgetResource, "",
			admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "me"}),
		VersionedObject: admission.NewLazyObject(obj),
		VersionedKind:   obj.GroupVersionKind(),
	}
	s := step{review: func(context.Context, *admissionv1.AdmissionRequest) ([]byte, error) { return nil, nil }}
	for b.Loop() {
		if err := review(b.Context(), s, a, nil); err != nil {
			b.Fatal(err)
		}
	}
}
