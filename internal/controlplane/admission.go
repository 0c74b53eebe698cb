package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/admission"
)

// inProcess is the admission plugin that runs the compiled-in steps.
type inProcess struct {
	steps []Admission
}

var _ admission.MutationInterface = (*inProcess)(nil)

func (*inProcess) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update || op == admission.Delete
}

func (p *inProcess) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	gvr := a.GetResource()
	if sub := a.GetSubresource(); sub != "" {
		gvr.Resource += "/" + sub
	}
	var versioned *admission.VersionedAttributes
	for _, step := range p.steps {
		if !step.Handles(gvr, admissionv1.Operation(a.GetOperation())) {
			continue
		}
		if versioned == nil {
			var err error
			// What admission sees of a native resource is the internal version, what clients know is v1.
			if versioned, err = admission.NewVersionedAttributes(a, a.GetKind(), o); err != nil {
				return apierrors.NewInternalError(err)
			}
		}
		if err := review(ctx, step, versioned, o); err != nil {
			return err
		}
	}
	if versioned == nil || !versioned.Dirty {
		return nil
	}
	return o.GetObjectConvertor().Convert(versioned.VersionedObject.Object(), a.GetObject(), nil)
}

// review runs one step, and puts the object that it returns into a.
func review(ctx context.Context, step Admission, a *admission.VersionedAttributes, o admission.ObjectInterfaces) error {
	req, err := admissionRequest(a)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	patched, err := step.Review(ctx, req)
	if err != nil {
		var status *apierrors.StatusError
		if errors.As(err, &status) {
			return status
		}
		return admission.NewForbidden(a.Attributes, fmt.Errorf("%s: %w", step.Name(), err))
	}
	if patched == nil {
		return nil
	}
	if a.VersionedObject.Object() == nil {
		return apierrors.NewInternalError(fmt.Errorf("%s changed an object in a %s, which has none", step.Name(), req.Operation))
	}
	changed, err := decode(patched, a, o)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("%s returned an object that cannot be used: %w", step.Name(), err))
	}
	o.GetObjectDefaulter().Default(changed)
	a.UpdateObject(changed)
	return nil
}

func decode(content []byte, a *admission.VersionedAttributes, o admission.ObjectInterfaces) (runtime.Object, error) {
	if _, ok := a.VersionedObject.Object().(*unstructured.Unstructured); ok {
		obj := &unstructured.Unstructured{}
		return obj, obj.UnmarshalJSON(content)
	}
	obj, err := o.GetObjectCreater().New(a.VersionedKind)
	if err != nil {
		return nil, err
	}
	return obj, json.Unmarshal(content, obj)
}

// admissionRequest is what a webhook would be sent.
func admissionRequest(a *admission.VersionedAttributes) (*admissionv1.AdmissionRequest, error) {
	kind, resource, who := metav1.GroupVersionKind(a.GetKind()), metav1.GroupVersionResource(a.GetResource()), a.GetUserInfo()
	dryRun := a.IsDryRun()
	req := &admissionv1.AdmissionRequest{
		UID:                uuid.NewUUID(),
		Kind:               kind,
		Resource:           resource,
		SubResource:        a.GetSubresource(),
		RequestKind:        &kind,
		RequestResource:    &resource,
		RequestSubResource: a.GetSubresource(),
		Name:               a.GetName(),
		Namespace:          a.GetNamespace(),
		Operation:          admissionv1.Operation(a.GetOperation()),
		UserInfo: authenticationv1.UserInfo{
			Username: who.GetName(),
			UID:      who.GetUID(),
			Groups:   who.GetGroups(),
			Extra:    make(map[string]authenticationv1.ExtraValue, len(who.GetExtra())),
		},
		DryRun: &dryRun,
	}
	for key, values := range who.GetExtra() {
		req.UserInfo.Extra[key] = values
	}
	for _, part := range []struct {
		from runtime.Object
		to   *runtime.RawExtension
	}{
		{a.VersionedObject.Object(), &req.Object},
		{a.VersionedOldObject.Object(), &req.OldObject},
		{a.GetOperationOptions(), &req.Options},
	} {
		if part.from == nil {
			continue
		}
		raw, err := json.Marshal(part.from)
		if err != nil {
			return nil, fmt.Errorf("cannot encode a %T: %w", part.from, err)
		}
		part.to.Raw = raw
	}
	return req, nil
}
