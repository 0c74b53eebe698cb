package limavm

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// checker has the rules of admission.
type checker struct {
	client.Reader
	cfg AdmissionConfig
}

const (
	kindLimaVM    = "LimaVM"
	kindConfigMap = "ConfigMap"

	fieldName     = "metadata.name"
	fieldRef      = "spec.templateRef"
	fieldParams   = "spec.params"
	fieldTemplate = "data.template"
)

// create judges a new LimaVM.
func (c checker) create(ctx context.Context, obj *v1alpha1.LimaVM) error {
	if problem := c.nameProblem(obj.Name); problem != "" {
		return invalid(obj, kindLimaVM, fieldName, problem)
	}
	switch err := c.Get(ctx, client.ObjectKeyFromObject(obj), &v1alpha1.LimaVM{}); {
	case err == nil:
		return nil // the store refuses it, in the words that clients know: AlreadyExists
	case !apierrors.IsNotFound(err):
		return cannotCheck(err)
	}
	if err := c.unique(ctx, obj); err != nil {
		return err
	}
	key := client.ObjectKey{Namespace: obj.Namespace, Name: obj.TemplateConfigMapName()}
	switch err := c.Get(ctx, key, &corev1.ConfigMap{}); {
	case err == nil:
		return invalid(obj, kindLimaVM, fieldName, alreadyExists(key))
	case !apierrors.IsNotFound(err):
		return cannotCheck(err)
	}
	source := &corev1.ConfigMap{}
	switch err := c.Get(ctx, templateSource(obj), source); {
	case apierrors.IsNotFound(err):
		return invalid(obj, kindLimaVM, fieldRef, sourceNotFound(templateSource(obj)))
	case err != nil:
		return cannotCheck(err)
	}
	return c.content(obj, source, fieldRef)
}

// update judges a changed LimaVM. One that is being deleted may change in any way: nothing is made from it any more.
func (c checker) update(ctx context.Context, old, obj *v1alpha1.LimaVM) error {
	if !obj.DeletionTimestamp.IsZero() {
		return nil
	}
	if templateSource(old) != templateSource(obj) {
		return invalid(obj, kindLimaVM, fieldRef, fmt.Sprintf(
			"spec.templateRef is immutable: it is read once; edit ConfigMap %s/%s instead", obj.Namespace, obj.TemplateConfigMapName()))
	}
	if maps.Equal(old.Spec.Params, obj.Spec.Params) {
		return nil
	}
	owned := &corev1.ConfigMap{}
	err := c.Get(ctx, client.ObjectKey{Namespace: obj.Namespace, Name: obj.TemplateConfigMapName()}, owned)
	if apierrors.IsNotFound(err) { // not copied yet
		err = c.Get(ctx, templateSource(obj), owned)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil // the controller reports it
	case err != nil:
		return cannotCheck(err)
	}
	return c.content(obj, owned, fieldParams)
}

// content judges a template together with the params of the LimaVM.
func (c checker) content(obj *v1alpha1.LimaVM, source *corev1.ConfigMap, field string) error {
	if _, err := c.cfg.Templates.check([]byte(source.Data[v1alpha1.TemplateKey]), obj.Spec.Params); err != nil {
		return invalid(obj, kindLimaVM, field, fmt.Sprintf("ConfigMap %s: %v", client.ObjectKeyFromObject(source), err))
	}
	return nil
}

// unique sees to it that no other namespace has a LimaVM of that name. Two that are created at the same moment both pass;
// the owner that is recorded in the instance then settles it.
func (c checker) unique(ctx context.Context, obj *v1alpha1.LimaVM) error {
	var others v1alpha1.LimaVMList
	if err := c.List(ctx, &others, client.MatchingFields{fieldName: obj.Name}); err != nil {
		return cannotCheck(err)
	}
	for i := range others.Items {
		if other := &others.Items[i]; other.Namespace != obj.Namespace {
			return invalid(obj, kindLimaVM, fieldName, alreadyUsed(obj.Name, client.ObjectKeyFromObject(other)))
		}
	}
	return nil
}

// validName is Lima's rule for the name of an instance, on top of that for the name of an object.
var validName = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*$`)

// nameProblem tells what is wrong with a name; empty if nothing is.
func (c checker) nameProblem(name string) string {
	switch {
	case name == "":
		return "metadata.name must be given: it names the VM's directory, so it cannot be generated"
	case len(name) > c.cfg.MaxNameLength:
		return fmt.Sprintf("the name %q is too long: it has %d characters, and the paths of a VM's sockets leave room for at most %d",
			name, len(name), c.cfg.MaxNameLength)
	case !validName.MatchString(name):
		return fmt.Sprintf("the name %q is not valid: lower-case letters and digits, with single dots or dashes in between", name)
	case strings.HasSuffix(name, ".yaml"), strings.HasSuffix(name, ".yml"):
		return fmt.Sprintf("the name %q is not valid: Lima takes what ends in .yaml or .yml for a file", name)
	}
	return ""
}

// templateDelete judges the deletion of a VM's template.
func (c checker) templateDelete(ctx context.Context, old *corev1.ConfigMap) error {
	owner, err := c.livingOwner(ctx, old)
	if err != nil || owner == nil {
		return err
	}
	return forbidden(old, fmt.Sprintf("ConfigMap %s is owned by LimaVM %s; delete the LimaVM resource instead",
		client.ObjectKeyFromObject(old), client.ObjectKeyFromObject(owner)))
}

// templateUpdate judges a change of a VM's template.
func (c checker) templateUpdate(ctx context.Context, old, changed *corev1.ConfigMap) error {
	owner, err := c.livingOwner(ctx, old)
	if err != nil || owner == nil {
		return err
	}
	key, holder := client.ObjectKeyFromObject(old), client.ObjectKeyFromObject(owner)
	switch {
	case changed.Labels[v1alpha1.LabelTemplateConfigMap] != old.Labels[v1alpha1.LabelTemplateConfigMap]:
		return forbidden(old, fmt.Sprintf("cannot remove label %s: resource is owned by LimaVM %s (ConfigMap %s)",
			v1alpha1.LabelTemplateConfigMap, holder, key))
	case hasFinalizer(old, v1alpha1.FinalizerTemplate) && !hasFinalizer(changed, v1alpha1.FinalizerTemplate):
		return forbidden(old, fmt.Sprintf("cannot remove finalizer %s: resource is owned by LimaVM %s (ConfigMap %s)",
			v1alpha1.FinalizerTemplate, holder, key))
	case !slices.ContainsFunc(changed.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == owner.UID }):
		return forbidden(old, fmt.Sprintf("cannot remove the owner reference: resource is owned by LimaVM %s (ConfigMap %s)",
			holder, key))
	}
	content, there := changed.Data[v1alpha1.TemplateKey]
	if !there {
		return invalid(old, kindConfigMap, fieldTemplate, fmt.Sprintf(
			`ConfigMap %s: template ConfigMap must have a "template" data entry`, key))
	}
	if content == old.Data[v1alpha1.TemplateKey] {
		return nil
	}
	if _, err := c.cfg.Templates.check([]byte(content), owner.Spec.Params); err != nil {
		return invalid(old, kindConfigMap, fieldTemplate, fmt.Sprintf("ConfigMap %s: %v", key, err))
	}
	return nil
}

// livingOwner is the LimaVM that needs the ConfigMap; nil once that is being deleted, or gone.
func (c checker) livingOwner(ctx context.Context, owned *corev1.ConfigMap) (*v1alpha1.LimaVM, error) {
	ref := metav1.GetControllerOf(owned)
	if ref == nil || ref.Kind != kindLimaVM {
		return nil, nil
	}
	owner := &v1alpha1.LimaVM{}
	switch err := c.Get(ctx, client.ObjectKey{Namespace: owned.Namespace, Name: ref.Name}, owner); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, cannotCheck(err)
	}
	if owner.UID != ref.UID || !owner.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	return owner, nil
}

func alreadyUsed(name string, by client.ObjectKey) string {
	return fmt.Sprintf("the name %q is already used by LimaVM %s; names are unique across all namespaces", name, by)
}

// cannotCheck tells that the request could be fine, but nobody can tell now.
func cannotCheck(err error) error {
	return apierrors.NewInternalError(fmt.Errorf("cannot check the request: %w", err))
}
