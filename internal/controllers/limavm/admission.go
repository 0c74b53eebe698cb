package limavm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// AdmissionConfig is what admission needs.
type AdmissionConfig struct {
	Templates Templates
	// MaxNameLength is how many bytes the name of a VM may have, so that the paths of its sockets stay within the limit.
	MaxNameLength int
}

// Admission sets defaults of LimaVMs, and refuses what cannot work: LimaVMs, and changes to the ConfigMaps with their
// templates. It writes nothing, so that a dry run is like any other request.
type Admission struct {
	cfg    AdmissionConfig
	reader atomic.Pointer[client.Reader]
}

// NewAdmission makes an Admission. It asks for patience until SetReader.
func NewAdmission(cfg AdmissionConfig) (*Admission, error) {
	if cfg.Templates.Validate == nil || cfg.Templates.MergeParams == nil || cfg.MaxNameLength <= 0 {
		return nil, errors.New("cannot make the admission of LimaVMs: Templates and MaxNameLength must be given")
	}
	return &Admission{cfg: cfg}, nil
}

// SetReader gives it what it reads objects with: from the API server, not from a cache.
func (a *Admission) SetReader(reader client.Reader) { a.reader.Store(&reader) }

// Name is how it shows in errors and logs.
func (a *Admission) Name() string { return "limavm" }

// Handles tells what it looks at.
func (a *Admission) Handles(gvr schema.GroupVersionResource, op admissionv1.Operation) bool {
	switch gvr {
	case v1alpha1.LimaVMResource():
		return op == admissionv1.Create || op == admissionv1.Update
	case configMaps():
		return op == admissionv1.Update || op == admissionv1.Delete
	}
	return false
}

func configMaps() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("configmaps")
}

// Review judges one request. It returns the object if it has changed it.
func (a *Admission) Review(ctx context.Context, req *admissionv1.AdmissionRequest) ([]byte, error) {
	reader := a.reader.Load()
	if reader == nil {
		return nil, apierrors.NewServiceUnavailable("the daemon is just starting; try again")
	}
	check := checker{Reader: *reader, cfg: a.cfg}
	resource := schema.GroupVersionResource(req.Resource)
	switch {
	case !a.Handles(resource, req.Operation) || req.SubResource != "":
		return nil, nil
	case resource == configMaps():
		old, err := decodeInto(&corev1.ConfigMap{}, req.OldObject.Raw)
		if err != nil || old.Labels[v1alpha1.LabelTemplateConfigMap] == "" {
			return nil, err
		}
		if req.Operation == admissionv1.Delete {
			return nil, check.templateDelete(ctx, old)
		}
		changed, err := decodeInto(&corev1.ConfigMap{}, req.Object.Raw)
		if err != nil {
			return nil, err
		}
		return nil, check.templateUpdate(ctx, old, changed)
	}
	obj, err := decodeInto(&v1alpha1.LimaVM{}, req.Object.Raw)
	if err != nil {
		return nil, err
	}
	if obj.Namespace == "" {
		obj.Namespace = req.Namespace
	}
	if req.Operation == admissionv1.Update {
		old, err := decodeInto(&v1alpha1.LimaVM{}, req.OldObject.Raw)
		if err != nil {
			return nil, err
		}
		return nil, check.update(ctx, old, obj)
	}
	if err := check.create(ctx, obj); err != nil {
		return nil, err
	}
	return withFinalizer(req.Object.Raw)
}

// withFinalizer adds our finalizer, so that no LimaVM can go without its instance.
func withFinalizer(raw []byte) ([]byte, error) {
	// Unstructured, so that no field is lost that this version does not know.
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(raw); err != nil {
		return nil, badRequest(err)
	}
	if !controllerutil.AddFinalizer(obj, v1alpha1.FinalizerCleanup) {
		return nil, nil
	}
	return obj.MarshalJSON()
}

func decodeInto[T any](into *T, raw []byte) (*T, error) {
	if len(raw) == 0 {
		return into, nil // the first of the reviews of a deletion of many has no object
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return nil, badRequest(err)
	}
	return into, nil
}

func badRequest(err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("cannot decode the object: %v", err))
}

// invalid refuses the content of an object. Its message is a plain sentence; kubectl, which prints causes instead, finds it
// there as well.
func invalid(obj client.Object, kind, field, message string) error {
	return refusal(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, obj, kind, message,
		metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: field, Message: message})
}

// forbidden refuses to let go of a ConfigMap that is owned.
func forbidden(obj *corev1.ConfigMap, message string) error {
	return refusal(http.StatusForbidden, metav1.StatusReasonForbidden, obj, kindConfigMap, message)
}

func refusal(code int32, reason metav1.StatusReason, obj client.Object, kind, message string, causes ...metav1.StatusCause) error {
	group := ""
	if kind == v1alpha1.LimaVMKind().Kind {
		group = v1alpha1.Group
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    code,
		Reason:  reason,
		Message: message,
		Details: &metav1.StatusDetails{Group: group, Kind: kind, Name: obj.GetName(), UID: obj.GetUID(), Causes: causes},
	}}
}
