package limavm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/yaml"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/crashpoint"
)

// template is what is known of the VM's template.
type template struct {
	state           templateState
	problem         string // why it is invalid or foreign
	resourceVersion string
	version         string // identifies content and params
	merged          []byte // content with params; only where the instance does not have it yet
}

// readTemplate reads the ConfigMap with the VM's template; nil where there is none with our label.
func (r *Reconciler) readTemplate(ctx context.Context, obj *v1alpha1.LimaVM) (*corev1.ConfigMap, error) {
	owned := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: obj.Namespace, Name: obj.TemplateConfigMapName()}
	switch err := r.Get(ctx, key, owned); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot read the template of LimaVM %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	return owned, nil
}

// judge tells what can be done with the template. Only one that the instance does not have yet is validated: that is what
// admission has done already, unless the ConfigMap was changed behind its back.
func (r *Reconciler) judge(obj *v1alpha1.LimaVM, owned *corev1.ConfigMap, applied string) template {
	if owned == nil {
		return template{state: templateMissing}
	}
	switch owner := metav1.GetControllerOf(owned); {
	case owner == nil && hasFinalizer(owned, v1alpha1.FinalizerTemplate):
		return template{state: templateStale} // its owner was taken away, and nobody else removes the finalizer
	case owner == nil, owner.Kind != v1alpha1.LimaVMKind().Kind, owner.Name != obj.Name:
		return template{state: templateForeign, problem: alreadyExists(client.ObjectKeyFromObject(owned))}
	case owner.UID != obj.UID:
		return template{state: templateStale}
	}
	result := template{
		state:           templateReady,
		resourceVersion: owned.ResourceVersion,
		version:         templateVersion(owned.Data[v1alpha1.TemplateKey], obj.Spec.Params),
	}
	if result.version == applied {
		return result
	}
	merged, err := r.cfg.Templates.check([]byte(owned.Data[v1alpha1.TemplateKey]), obj.Spec.Params)
	if err != nil {
		result.state, result.problem = templateInvalid, fmt.Sprintf("ConfigMap %s: %v", client.ObjectKeyFromObject(owned), err)
	}
	result.merged = merged
	return result
}

// templateVersion identifies what an instance is made from. Labels and the like have no part in it.
func templateVersion(content string, params map[string]string) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q", content)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(sum, "\n%q=%q", name, params[name])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// copyTemplate makes the ConfigMap that holds the VM's template from the one that the user referred to, which is not read
// again.
func (r *Reconciler) copyTemplate(ctx context.Context, obj *v1alpha1.LimaVM) error {
	source := &corev1.ConfigMap{}
	key := templateSource(obj)
	switch err := r.cfg.Reader.Get(ctx, key, source); {
	case apierrors.IsNotFound(err):
		return problem(sourceNotFound(key))
	case err != nil:
		return fmt.Errorf("cannot read the template: %w", err)
	}
	content := source.Data[v1alpha1.TemplateKey]
	if _, err := r.cfg.Templates.check([]byte(content), obj.Spec.Params); err != nil {
		return problem(fmt.Sprintf("ConfigMap %s: %v", key, err))
	}
	owned := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:  obj.Namespace,
			Name:       obj.TemplateConfigMapName(),
			Labels:     map[string]string{v1alpha1.LabelTemplateConfigMap: "true"},
			Finalizers: []string{v1alpha1.FinalizerTemplate},
		},
		Data: map[string]string{v1alpha1.TemplateKey: content},
	}
	if err := controllerutil.SetControllerReference(obj, owned, r.Scheme()); err != nil {
		return fmt.Errorf("cannot own the template: %w", err)
	}
	switch err := r.Create(ctx, owned); {
	case apierrors.IsAlreadyExists(err):
		return problem(alreadyExists(client.ObjectKeyFromObject(owned)))
	case err != nil:
		return fmt.Errorf("cannot store the template: %w", err)
	}
	return nil
}

// releaseTemplate removes our finalizer from the ConfigMap and, unless its owner was taken away ("--cascade=orphan"), the
// ConfigMap as well.
func (r *Reconciler) releaseTemplate(ctx context.Context, key client.ObjectKey) error {
	owned := &corev1.ConfigMap{}
	if err := r.Get(ctx, key, owned); err != nil {
		return client.IgnoreNotFound(err)
	}
	before := owned.DeepCopy()
	if controllerutil.RemoveFinalizer(owned, v1alpha1.FinalizerTemplate) {
		if err := r.Patch(ctx, owned, lockedPatch(before)); err != nil {
			return ignoreStale(err, "cannot release the template %s", key)
		}
	}
	crashpoint.At(crashpoint.TemplateReleased)
	if metav1.GetControllerOf(before) == nil {
		return nil
	}
	err := r.Delete(ctx, owned, client.Preconditions{UID: ptr.To(before.UID)})
	return ignoreStale(err, "cannot delete the template %s", key)
}

// ignoreStale wraps err, unless it says that the object is gone, or newer than what was known of it: then its next event
// brings another visit.
func ignoreStale(err error, format string, args ...any) error {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// Templates is what the controller and admission need to know of Lima's templates.
type Templates struct {
	// Validate tells what Lima has against a complete template, on one line.
	Validate func(content []byte) error
	// MergeParams sets the template's params; one that the template does not have is an error.
	MergeParams func(content []byte, params map[string]string) ([]byte, error)
}

// check validates content as it is and with params, and returns the latter. Its errors are worded for users.
func (t Templates) check(content []byte, params map[string]string) ([]byte, error) {
	if len(content) == 0 {
		return nil, errors.New(`"template" data cannot be empty`)
	}
	var document map[string]any
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf("failed to parse template: %s", oneLine(err.Error()))
	}
	merged, err := t.MergeParams(content, params)
	if err != nil {
		return nil, fmt.Errorf("failed to merge params: %s", oneLine(err.Error()))
	}
	if err := t.Validate(merged); err != nil {
		return nil, fmt.Errorf("failed to validate template: %s", oneLine(err.Error()))
	}
	return merged, nil
}

// templateSource is where spec.templateRef points.
func templateSource(obj *v1alpha1.LimaVM) client.ObjectKey {
	ref := obj.Spec.TemplateRef
	if ref.Namespace == "" {
		ref.Namespace = obj.Namespace
	}
	return client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
}

// oneLine puts a message on one line.
func oneLine(message string) string {
	return strings.Join(strings.FieldsFunc(message, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

func sourceNotFound(key client.ObjectKey) string {
	return fmt.Sprintf("ConfigMap %s not found: spec.templateRef names the ConfigMap that holds the template", key)
}

func alreadyExists(key client.ObjectKey) string {
	return fmt.Sprintf("ConfigMap %s already exists and does not belong to this LimaVM, which keeps its template under that name; "+
		"rename the ConfigMap, or choose another name for the VM", key)
}
