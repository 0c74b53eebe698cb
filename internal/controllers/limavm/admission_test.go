package limavm_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
)

// refused fails the test unless err is a refusal of that kind, in one plain line that has all parts.
func refused(t *testing.T, err error, code int32, parts ...string) {
	t.Helper()
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		t.Errorf("it was not refused: %v", err)
		return
	}
	if status.ErrStatus.Code != code {
		t.Errorf("code %d instead of %d: %s", status.ErrStatus.Code, code, status.ErrStatus.Message)
	}
	message := status.ErrStatus.Message
	for _, part := range parts {
		if !strings.Contains(message, part) {
			t.Errorf("the message lacks %q: %s", part, message)
		}
	}
	if strings.Contains(message, "\n") {
		t.Errorf("the message has several lines: %s", message)
	}
	if strings.Contains(message, "admission") || strings.Contains(message, "denied") {
		t.Errorf("the message is wrapped: %s", message)
	}
	if code == http.StatusUnprocessableEntity { // kubectl prints causes, and nothing else
		if causes := status.ErrStatus.Details.Causes; len(causes) != 1 || causes[0].Message != message || causes[0].Field == "" {
			t.Errorf("the causes are %+v", causes)
		}
	}
}

const (
	unprocessable = http.StatusUnprocessableEntity
	forbidden     = http.StatusForbidden
)

func TestAdmissionOfNewVMs(t *testing.T) {
	d := newDaemon(t)
	d.must(d.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}))
	d.template("source", goodTemplate)
	d.template("broken", "images: [")
	d.template("list", "- one\n")
	d.template("wrong", "wrong: 1\n")
	d.template("empty", "")
	d.must(d.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "keyless"}}))
	d.template("taken-template", "mine: yes\n")
	d.create("dev")
	from := func(source string) func(*v1alpha1.LimaVM) {
		return func(obj *v1alpha1.LimaVM) { obj.Spec.TemplateRef.Name = source }
	}
	for _, test := range []struct {
		name  string
		obj   *v1alpha1.LimaVM
		parts []string
	}{
		{"a name that another namespace has", newVM("dev", func(obj *v1alpha1.LimaVM) { obj.Namespace = "elsewhere" }),
			[]string{"already used", "unique across all namespaces", "default/dev"}},
		{"no template", newVM("new", from("nowhere")), []string{"default/nowhere", "not found"}},
		{"a template without its key", newVM("new", from("keyless")), []string{`"template" data cannot be empty`}},
		{"an empty template", newVM("new", from("empty")), []string{`"template" data cannot be empty`}},
		{"a template that is not YAML", newVM("new", from("broken")), []string{"failed to parse template: "}},
		{"a template that is a list", newVM("new", from("list")), []string{"failed to parse template: "}},
		{"a template that Lima does not like", newVM("new", from("wrong")),
			[]string{"failed to validate template: line 1: field `wrong` is not known to Lima"}},
		{"a ConfigMap in the way", newVM("taken"), []string{"taken-template", "already exists"}},
		{"a long name", newVM(strings.Repeat("x", maxNameLength+1)), []string{"too long", "41", "at most 40"}},
		{"a strange name", newVM("a--b"), []string{"not valid"}},
		{"a name like a file", newVM("a.yaml"), []string{"not valid", ".yaml"}},
		{"no name", newVM("", func(obj *v1alpha1.LimaVM) { obj.GenerateName = "vm-" }), []string{"metadata.name must be given"}},
		{"an unknown parameter", newVM("new", func(obj *v1alpha1.LimaVM) { obj.Spec.Params = map[string]string{"colour": "red"} }),
			[]string{`no parameter "colour"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, d.client.Create(t.Context(), test.obj.DeepCopy(), client.DryRunAll), unprocessable, test.parts...)
			refused(t, d.client.Create(t.Context(), test.obj), unprocessable, test.parts...)
		})
	}
	t.Run("what exists", func(t *testing.T) {
		d.await("dev", "copy of its template", func(obj *v1alpha1.LimaVM) bool { return obj.Status.TemplateConfigMap != "" })
		for _, options := range [][]client.CreateOption{{client.DryRunAll}, nil} {
			if err := d.client.Create(t.Context(), newVM("dev"), options...); !apierrors.IsAlreadyExists(err) {
				t.Errorf("made again: %v", err)
			}
		}
	})
	t.Run("the longest name", func(t *testing.T) {
		d.must(d.client.Create(t.Context(), newVM(strings.Repeat("x", maxNameLength))))
	})
}

func TestAdmissionSetsDefaults(t *testing.T) {
	d := newDaemon(t)
	d.template("source", goodTemplate)
	obj := newVM("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.TemplateRef.Namespace = "" })
	d.must(d.client.Create(t.Context(), obj, client.DryRunAll))
	if len(obj.Finalizers) != 1 || obj.Finalizers[0] != v1alpha1.FinalizerCleanup {
		t.Errorf("finalizers are %v", obj.Finalizers)
	}
	if obj.Spec.Running || *obj.Spec.StopGracePeriodSeconds != 30 || obj.Spec.RestartPolicy != v1alpha1.RestartAlways {
		t.Errorf("defaults:\n%s", show(obj))
	}
	// A dry run leaves nothing behind.
	var vms v1alpha1.LimaVMList
	d.must(d.client.List(t.Context(), &vms))
	var templates corev1.ConfigMapList
	d.must(d.client.List(t.Context(), &templates, client.HasLabels{v1alpha1.LabelTemplateConfigMap}))
	if len(vms.Items) != 0 || len(templates.Items) != 0 {
		t.Errorf("a dry run stored %d LimaVMs and %d templates", len(vms.Items), len(templates.Items))
	}
	obj.ResourceVersion, obj.UID = "", ""
	obj.Spec.StopGracePeriodSeconds = ptr.To[int32](0)
	d.must(d.client.Create(t.Context(), obj))
	if *obj.Spec.StopGracePeriodSeconds != 0 {
		t.Error("a grace of zero was taken for none")
	}
}

func TestAdmissionOfChangedVMs(t *testing.T) {
	d := newDaemon(t)
	d.create("dev")
	d.awaitStopped("dev")
	change := func(change func(*v1alpha1.LimaVM), opts ...client.PatchOption) error {
		obj := d.get("dev")
		before := obj.DeepCopy()
		change(obj)
		return d.client.Patch(t.Context(), obj, client.MergeFrom(before), opts...)
	}
	for name, test := range map[string]struct {
		change func(*v1alpha1.LimaVM)
		parts  []string
	}{
		"templateRef": {func(obj *v1alpha1.LimaVM) { obj.Spec.TemplateRef.Name = "other" },
			[]string{"templateRef is immutable", "edit ConfigMap default/dev-template instead"}},
		"params": {func(obj *v1alpha1.LimaVM) { obj.Spec.Params = map[string]string{"colour": "red"} }, []string{`no parameter "colour"`}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, change(test.change, client.DryRunAll), unprocessable, test.parts...)
			refused(t, change(test.change), unprocessable, test.parts...)
		})
	}
	d.must(change(func(obj *v1alpha1.LimaVM) { obj.Spec.Params = map[string]string{"size": "big"} }))
}

// The schema refuses these, whoever writes them.
func TestSchema(t *testing.T) {
	d := newDaemon(t, withoutAdmission)
	d.create("dev")
	for name, test := range map[string]struct {
		change func(*v1alpha1.LimaVM)
		part   string
	}{
		"templateRef":    {func(obj *v1alpha1.LimaVM) { obj.Spec.TemplateRef.Name = "other" }, "templateRef is immutable"},
		"restart policy": {func(obj *v1alpha1.LimaVM) { obj.Spec.RestartPolicy = "Sometimes" }, "Unsupported value"},
		"grace":          {func(obj *v1alpha1.LimaVM) { obj.Spec.StopGracePeriodSeconds = ptr.To[int32](-1) }, "greater than or equal to 0"},
	} {
		t.Run(name, func(t *testing.T) {
			obj := d.get("dev")
			before := obj.DeepCopy()
			test.change(obj)
			err := d.client.Patch(t.Context(), obj, client.MergeFrom(before))
			if err == nil || !strings.Contains(err.Error(), test.part) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAdmissionProtectsTheTemplate(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Params = map[string]string{"size": "big"} })
	d.awaitStopped("dev")

	owned := d.owned("dev")
	for _, opts := range [][]client.DeleteOption{{client.DryRunAll}, {}} {
		refused(t, d.client.Delete(t.Context(), owned.DeepCopy(), opts...), forbidden,
			"default/dev-template is owned by LimaVM default/dev; delete the LimaVM resource instead")
	}
	refused(t, d.client.DeleteAllOf(t.Context(), &corev1.ConfigMap{}, client.InNamespace("default"),
		client.MatchingLabels{v1alpha1.LabelTemplateConfigMap: "true"}), forbidden, "owned by LimaVM default/dev")

	for name, test := range map[string]struct {
		change func(*corev1.ConfigMap)
		code   int32
		part   string
	}{
		"label": {func(owned *corev1.ConfigMap) { owned.Labels = nil }, forbidden,
			"cannot remove label lima.rancherdesktop.io/template-configmap: resource is owned"},
		"another value of the label": {func(owned *corev1.ConfigMap) { owned.Labels[v1alpha1.LabelTemplateConfigMap] = "no" }, forbidden,
			"cannot remove label lima.rancherdesktop.io/template-configmap: resource is owned"},
		"finalizer": {func(owned *corev1.ConfigMap) { owned.Finalizers = nil }, forbidden,
			"cannot remove finalizer rdd.rancherdesktop.io/owned-by-LimaVM: resource is owned"},
		"owner": {func(owned *corev1.ConfigMap) { owned.OwnerReferences = nil }, forbidden, "resource is owned"},
		"key": {func(owned *corev1.ConfigMap) { delete(owned.Data, v1alpha1.TemplateKey) }, unprocessable,
			`template ConfigMap must have a "template" data entry`},
		"no content":     {func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "" }, unprocessable, `"template" data cannot be empty`},
		"not YAML":       {func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "images: [" }, unprocessable, "failed to parse template: "},
		"not valid":      {func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = goodTemplate + "wrong: 1" }, unprocessable, "failed to validate template: "},
		"without params": {func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "images: [one]" }, unprocessable, `no parameter "size"`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, opts := range [][]client.PatchOption{{client.DryRunAll}, {}} {
				changed := d.owned("dev")
				before := changed.DeepCopy()
				test.change(changed)
				refused(t, d.client.Patch(t.Context(), changed, client.MergeFrom(before), opts...), test.code, test.part)
			}
		})
	}
	t.Run("annotations and other keys are free", func(t *testing.T) {
		d.edit("dev", func(owned *corev1.ConfigMap) {
			metav1.SetMetaDataAnnotation(&owned.ObjectMeta, "example.com/note", "mine")
			owned.Data["notes"] = "mine"
		})
	})
	t.Run("what has no owner is not protected", func(t *testing.T) {
		free := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "free", Labels: map[string]string{v1alpha1.LabelTemplateConfigMap: "true"},
		}}
		d.must(d.client.Create(t.Context(), free))
		d.must(d.client.Delete(t.Context(), free))
	})
}

// An invalid template must not keep anything from being deleted.
func TestAdmissionLetsDeletionPass(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", func(obj *v1alpha1.LimaVM) { obj.Finalizers = []string{"example.com/wait"} })
	d.awaitStopped("dev")
	d.delete("dev")
	d.awaitGone(&corev1.ConfigMapList{}, "dev-template")
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Finalizers = nil })
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
}

// Namespaces are emptied by somebody who knows nothing of LimaVMs.
func TestNamespaceDeletion(t *testing.T) {
	d := newDaemon(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}
	d.must(d.client.Create(t.Context(), namespace))
	d.template("source", goodTemplate)
	d.must(d.client.Create(t.Context(), newVM("dev", running, func(obj *v1alpha1.LimaVM) { obj.Namespace = "elsewhere" })))
	d.namespace = "elsewhere"
	d.awaitRunning("dev")
	d.must(d.client.Delete(t.Context(), namespace))
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
	d.awaitGone(&corev1.ConfigMapList{}, "dev-template")
	if _, ok := d.machine.Exists("dev"); ok {
		t.Error("the instance is still there")
	}
}

func TestAdmissionIsPatientBeforeItCanRead(t *testing.T) {
	admission, err := limavm.NewAdmission(limavm.AdmissionConfig{Templates: templates(), MaxNameLength: maxNameLength})
	if err != nil {
		t.Fatal(err)
	}
	_, err = admission.Review(context.Background(), &admissionv1.AdmissionRequest{
		UID: types.UID("1"), Operation: admissionv1.Create, Resource: metav1.GroupVersionResource(v1alpha1.LimaVMResource()),
	})
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v", err)
	}
}

func TestAdmissionHandles(t *testing.T) {
	admission, err := limavm.NewAdmission(limavm.AdmissionConfig{Templates: templates(), MaxNameLength: maxNameLength})
	if err != nil {
		t.Fatal(err)
	}
	vms, maps := v1alpha1.LimaVMResource(), corev1.SchemeGroupVersion.WithResource("configmaps")
	for _, test := range []struct {
		resource schema.GroupVersionResource
		op       admissionv1.Operation
		want     bool
	}{
		{vms, admissionv1.Create, true}, {vms, admissionv1.Update, true}, {vms, admissionv1.Delete, false},
		{maps, admissionv1.Create, false}, {maps, admissionv1.Update, true}, {maps, admissionv1.Delete, true},
		{v1alpha1.GroupVersion().WithResource("limavms/status"), admissionv1.Update, false},
		{corev1.SchemeGroupVersion.WithResource("secrets"), admissionv1.Update, false},
	} {
		if got := admission.Handles(test.resource, test.op); got != test.want {
			t.Errorf("%s of %s: %v", test.op, test.resource, got)
		}
	}
	if _, err := limavm.NewAdmission(limavm.AdmissionConfig{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
}
