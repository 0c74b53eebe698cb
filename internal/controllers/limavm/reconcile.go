// Package limavm owns the life of LimaVM objects: it compares what they ask for with what the driver observes, does the
// next thing, and reports. It also owns their admission.
//
// Each reconcile goes one way: observe, decide, act, report. decide.go is the whole state machine; status.go is the only
// place that makes conditions. Nothing here waits for a VM: requests to the driver return at once, and its notifications
// come back as events.
package limavm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// reportTimeout is far more than writing a status and a few Events takes.
const reportTimeout = 10 * time.Second

// problemRetry is how often it is looked whether the user has mended what is outside of our sight.
const problemRetry = 2 * time.Second

// problem is an error that only the user can do something about.
type problem string

func (p problem) Error() string { return string(p) }

// Reconciler brings LimaVMs to where their objects say.
type Reconciler struct {
	client.Client
	cfg Config
	// began is when this daemon began to look: what a status says from before is another daemon's word.
	began time.Time
}

// Reconcile looks at one LimaVM and does the next thing.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	begun := time.Now()
	if since, ok := r.cfg.Changes.answer(req.Name); ok {
		r.cfg.Metrics.delivery.Observe(begun.Sub(since).Seconds())
	}
	defer func() { r.cfg.Metrics.reconcile.Observe(time.Since(begun).Seconds()) }()
	result, err := r.reconcile(ctx, req)
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctrl.Result{}, nil // the daemon ends, and whatever went wrong with it
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	obj := &v1alpha1.LimaVM{}
	switch err := r.Get(ctx, req.NamespacedName, obj); {
	case apierrors.IsNotFound(err):
		r.cfg.Metrics.forget(req.Name)
		return ctrl.Result{}, r.releaseOrphan(ctx, req)
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("cannot read LimaVM %s: %w", req, err)
	}
	v := &visit{obj: obj, saved: obj.DeepCopy(), before: *obj.Status.DeepCopy()}
	if v.facts, err = r.observe(ctx, obj); err != nil {
		return ctrl.Result{}, err
	}
	r.cfg.Metrics.seen(obj.Name, v.observed)
	r.noteGrace(ctx, v)
	step := decide(v.want, v.got)
	defer func() {
		// What has been done is reported, even if the daemon ends now.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
		defer cancel()
		obj.Status = report(obj, v.facts, outcome{step, err})
		if problem := (problem)(""); errors.As(err, &problem) {
			// The status tells; nobody has to read the log, and nothing tells when it is mended.
			result.RequeueAfter, err = problemRetry, nil
		}
		saved := r.save(ctx, v)
		r.tell(ctx, v, saved == nil)
		err = errors.Join(err, saved)
	}()
	if v.got.held {
		result.RequeueAfter = max(v.nextTry.Sub(r.cfg.Clock.Now()), time.Millisecond)
	}
	switch err = r.act(ctx, v, step); {
	case err == nil:
		r.cfg.Metrics.requested(obj.Name, step)
	case overtaken(err, v.observed.State):
		step, err = StepNone, nil // the driver has announced the change, and the next visit sees it
	}
	return result, err
}

// noteGrace leaves the grace with the driver. What it is for comes without an object: nothing waits for it, and the next visit
// tries again.
func (r *Reconciler) noteGrace(ctx context.Context, v *visit) {
	switch v.got.state {
	case vm.Stopped, vm.Starting, vm.Running, vm.Stopping:
	default:
		return
	}
	if v.observed.Grace == v.grace {
		return
	}
	if err := r.cfg.Driver.SetGrace(v.name, v.grace); err != nil {
		r.cfg.Log.DebugContext(ctx, "the grace is not noted", slog.String("limavm", v.name), slog.Any("error", err))
	}
}

// overtaken tells whether a request was refused only because the instance is not any more in the state that was observed.
func overtaken(err error, observed vm.State) bool {
	var now vm.StateError
	return errors.As(err, &now) && vm.State(now) != observed
}

// visit is one reconcile of one object.
type visit struct {
	facts
	obj    *v1alpha1.LimaVM
	saved  *v1alpha1.LimaVM      // as the API server last had it
	before v1alpha1.LimaVMStatus // before this visit; for Events
}

// save writes the status, if it has changed.
func (r *Reconciler) save(ctx context.Context, v *visit) error {
	if equality.Semantic.DeepEqual(v.obj.Status, v.saved.Status) {
		return nil
	}
	patched := v.saved.DeepCopy()
	patched.Status = *v.obj.Status.DeepCopy()
	if err := r.Status().Patch(ctx, patched, client.MergeFrom(v.saved)); err != nil {
		return ignoreStale(err, "cannot report on LimaVM %s", client.ObjectKeyFromObject(v.obj))
	}
	v.saved.Status = *v.obj.Status.DeepCopy()
	return nil
}

// releaseOrphan lets go of the template of a LimaVM that went without its controller, because somebody removed its
// finalizer: otherwise it could never be deleted.
func (r *Reconciler) releaseOrphan(ctx context.Context, req ctrl.Request) error {
	return r.releaseTemplate(ctx, client.ObjectKey{Namespace: req.Namespace, Name: req.Name + v1alpha1.TemplateSuffix})
}
