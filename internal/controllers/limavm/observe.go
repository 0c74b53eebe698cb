package limavm

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// defaultGrace applies to objects that were stored before the field had a default.
const defaultGrace = 30 * time.Second

// facts is everything that one reconcile knows.
type facts struct {
	name     string
	want     want
	got      got
	observed vm.Observed
	template template
	grace    time.Duration
	nextTry  time.Time // when the pause after observed.Failure is over
	conflict string    // whose the instance is, if it is not ours
	created  bool      // whether the status tells so already
	began    time.Time // of Reconciler
	now      time.Time
}

// observe gathers the facts. What the driver tells only once is in the result: act on it, or it is lost.
func (r *Reconciler) observe(ctx context.Context, obj *v1alpha1.LimaVM) (facts, error) {
	// The driver is asked last: a failed read must not lose what it tells only once.
	owned, err := r.readTemplate(ctx, obj)
	if err != nil {
		return facts{}, err
	}
	observed := r.cfg.Driver.Observe(obj.Name)
	f := facts{
		name:     obj.Name,
		created:  meta.FindStatusCondition(obj.Status.Conditions, v1alpha1.ConditionCreated) != nil,
		want:     wanted(obj),
		observed: observed,
		template: r.judge(obj, owned, observed.TemplateVersion),
		grace:    gracePeriod(obj),
		nextTry:  heldUntil(observed.Failure),
		began:    r.began,
		now:      r.cfg.Clock.Now(),
	}
	f.got = got{
		state:     observed.State,
		draining:  observed.Draining,
		held:      held(observed.Failure, f.now),
		fresh:     fresh(obj, observed.Failure, f.template),
		template:  f.template.state,
		applied:   f.template.version == observed.TemplateVersion,
		finalizer: hasFinalizer(obj, v1alpha1.FinalizerCleanup),
	}
	if observed.Failure != nil {
		f.got.failed = observed.Failure.During
	}
	if f.conflict = r.conflict(ctx, obj, observed); f.conflict != "" {
		f.got.state, f.got.taken = vm.Foreign, true
	}
	return f, nil
}

func wanted(obj *v1alpha1.LimaVM) want {
	return want{
		deleting:     !obj.DeletionTimestamp.IsZero(),
		running:      obj.Spec.Running,
		never:        obj.Spec.RestartPolicy == v1alpha1.RestartNever,
		force:        metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationForceStop),
		reset:        metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationReset),
		restartAsked: metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationRestart),
		restartNoted: obj.Status.RestartNeeded,
	}
}

// fresh tells whether the user has changed something since a failure was reported.
func fresh(obj *v1alpha1.LimaVM, failure *vm.Failure, owned template) bool {
	if obj.Generation != obj.Status.ObservedGeneration {
		return true
	}
	return ofAnotherTemplate(failure, owned)
}

func ofAnotherTemplate(failure *vm.Failure, owned template) bool {
	return failure != nil && failure.TemplateVersion != "" && owned.version != "" && failure.TemplateVersion != owned.version
}

// outlived tells whether the last failure is of a template that has changed since. The present one is about to be tried.
func (f facts) outlived() bool {
	switch f.got.failed {
	case vm.OpStart, vm.OpRun:
		return outdated(f.got)
	}
	return ofAnotherTemplate(f.observed.Failure, f.template)
}

// conflict tells who is in the way, if it is not ours: names are unique across namespaces by admission, but only the owner
// that the instance itself records settles it.
func (r *Reconciler) conflict(ctx context.Context, obj *v1alpha1.LimaVM, observed vm.Observed) string {
	if observed.Owner == string(obj.UID) || observed.Owner == "" {
		return ""
	}
	var others v1alpha1.LimaVMList
	if err := r.List(ctx, &others, client.MatchingFields{nameIndex: obj.Name}); err == nil {
		for _, other := range others.Items {
			if other.UID == types.UID(observed.Owner) {
				return alreadyUsed(obj.Name, client.ObjectKeyFromObject(&other))
			}
		}
	}
	return fmt.Sprintf("the instance %q belongs to a LimaVM that no longer exists, so it is left alone; "+
		"move its directory away, or choose another name", obj.Name)
}

// gracePeriod is how long the guest has for shutting down.
func gracePeriod(obj *v1alpha1.LimaVM) time.Duration {
	if obj.Spec.StopGracePeriodSeconds == nil {
		return defaultGrace
	}
	return time.Duration(*obj.Spec.StopGracePeriodSeconds) * time.Second
}

func hasFinalizer(obj client.Object, name string) bool {
	for _, finalizer := range obj.GetFinalizers() {
		if finalizer == name {
			return true
		}
	}
	return false
}
