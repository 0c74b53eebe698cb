package limavm

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// tell writes Events about what has happened. They are written by the reconcile itself, one by one: the usual recorder
// writes later, merges different messages, and drops what it has when the daemon ends, which is when VMs are stopped.
//
// What is new in the status is left to the next attempt where that could not be saved. What the driver told is told now: it
// tells it once.
func (r *Reconciler) tell(ctx context.Context, v *visit, saved bool) {
	var news []vm.Notice
	if saved {
		news = changes(v.before, v.obj.Status, v.facts)
	}
	for _, notice := range append(news, v.observed.Notices...) {
		r.cfg.Metrics.told(notice.Reason)
		// Events are never read here: consistency would bring all of them into the cache.
		err := r.Create(ctx, r.event(v.obj, notice), client.DisableReadYourWritesConsistency)
		if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			r.cfg.Log.WarnContext(ctx, "cannot write an event", slog.String("limavm", client.ObjectKeyFromObject(v.obj).String()),
				slog.String("reason", notice.Reason), slog.String("message", notice.Message), slog.Any("error", err))
		}
	}
}

// maxEventMessage is the API server's limit, in bytes.
const maxEventMessage = 1024

func (r *Reconciler) event(obj *v1alpha1.LimaVM, notice vm.Notice) *corev1.Event {
	now := r.cfg.Clock.Now()
	kind := corev1.EventTypeNormal
	if notice.Warning {
		kind = corev1.EventTypeWarning
	}
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: obj.Namespace, GenerateName: obj.Name + "."},
		InvolvedObject: corev1.ObjectReference{
			APIVersion:      v1alpha1.GroupVersion().String(),
			Kind:            v1alpha1.LimaVMKind().Kind,
			Namespace:       obj.Namespace,
			Name:            obj.Name,
			UID:             obj.UID,
			ResourceVersion: obj.ResourceVersion,
		},
		Type:           kind,
		Reason:         notice.Reason,
		Message:        shorten(notice.Message, maxEventMessage),
		Source:         corev1.EventSource{Component: Name},
		FirstTimestamp: metav1.NewTime(now),
		LastTimestamp:  metav1.NewTime(now),
		Count:          1,
	}
}

// changes tells what is new in a status.
func changes(before, after v1alpha1.LimaVMStatus, f facts) []vm.Notice {
	was, is := view(before), view(after)
	var result []vm.Notice
	add := func(happened, warning bool, reason, message string) {
		if happened {
			result = append(result, vm.Notice{Warning: warning, Reason: reason, Message: message})
		}
	}
	crashed := is.running.Reason == v1alpha1.ReasonCrashed || is.running.Reason == v1alpha1.ReasonBackOff
	wasCrashed := was.running.Reason == v1alpha1.ReasonCrashed || was.running.Reason == v1alpha1.ReasonBackOff
	anew := was.running.Status == metav1.ConditionUnknown ||
		was.running.Status == metav1.ConditionTrue && !was.running.LastTransitionTime.Equal(&is.running.LastTransitionTime)
	adopted := after.Host != nil && after.Host.Adopted && (before.Host == nil || !before.Host.Adopted || anew)

	add(is.created.Status == metav1.ConditionTrue && was.created.Status != metav1.ConditionTrue,
		false, v1alpha1.EventCreated, "the instance is made")
	add(before.AppliedTemplate != "" && after.AppliedTemplate != "" && before.AppliedTemplate != after.AppliedTemplate,
		false, v1alpha1.EventTemplateApplied, "the changed template is applied")
	add(turned(was.running, is.running, v1alpha1.ReasonStarting), false, v1alpha1.EventStarting, is.running.Message)
	add(after.RestartCount > before.RestartCount, false, v1alpha1.EventStarted, is.running.Message)
	add(adopted, false, v1alpha1.EventAdopted, "the VM was taken over from an earlier daemon; its guest was not touched")
	add(turned(was.running, is.running, v1alpha1.ReasonStopping), false, v1alpha1.EventStopping, is.running.Message)
	add(turned(was.running, is.running, v1alpha1.ReasonStopped) && was.alive(), false, v1alpha1.EventStopped, is.running.Message)
	add(crashed && !wasCrashed, true, v1alpha1.EventCrashed, is.running.Message)
	add(is.degraded.Status == metav1.ConditionTrue && was.degraded.Message != is.degraded.Message,
		true, v1alpha1.EventDegraded, is.degraded.Message)
	if f.got.held {
		for _, pair := range [][2]metav1.Condition{{was.created, is.created}, {was.running, is.running}} {
			add(backsOff(pair[1]) && pair[0].Message != pair[1].Message, true, v1alpha1.EventBackOff, pair[1].Message)
		}
	}
	return result
}

// backsOff tells whether a condition reports a failure that is tried again later.
func backsOff(c metav1.Condition) bool {
	switch c.Reason {
	case v1alpha1.ReasonCreateFailed, v1alpha1.ReasonStartFailed, v1alpha1.ReasonStopFailed, v1alpha1.ReasonBackOff:
		return true
	}
	return false
}

// turned tells whether a condition has changed to reason.
func turned(was, is metav1.Condition, reason string) bool {
	return is.Reason == reason && was.Reason != reason
}

// conditionsOf is a status's conditions by name.
type conditionsOf struct{ created, running, degraded metav1.Condition }

func view(status v1alpha1.LimaVMStatus) conditionsOf {
	find := func(kind string) metav1.Condition {
		if c := meta.FindStatusCondition(status.Conditions, kind); c != nil {
			return *c
		}
		return metav1.Condition{}
	}
	return conditionsOf{find(v1alpha1.ConditionCreated), find(v1alpha1.ConditionRunning), find(v1alpha1.ConditionDegraded)}
}

// alive tells whether there was something to stop.
func (c conditionsOf) alive() bool {
	switch c.running.Reason {
	case v1alpha1.ReasonStarting, v1alpha1.ReasonStarted, v1alpha1.ReasonStopping, v1alpha1.ReasonStopFailed:
		return true
	}
	return false
}
