package limavm

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// order is the queue's: VMs that should run are looked at before those that should not, each group in the order in which they came.
// A daemon that starts has to look at all; the few that run are what somebody waits for.
type order struct {
	waiting []reconcile.Request // guarded by the queue

	mu      sync.Mutex
	running map[types.NamespacedName]bool // whose spec says so
}

func newOrder() *order { return &order{running: map[types.NamespacedName]bool{}} }

// notice learns what each object asks for, and lets every event pass.
func (o *order) notice() predicate.Predicate {
	note := func(obj client.Object, there bool) bool {
		vm, ok := obj.(*v1alpha1.LimaVM)
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.running, client.ObjectKeyFromObject(obj))
		if ok && there && vm.Spec.Running {
			o.running[client.ObjectKeyFromObject(obj)] = true
		}
		return true
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return note(e.Object, true) },
		UpdateFunc: func(e event.UpdateEvent) bool { return note(e.ObjectNew, true) },
		DeleteFunc: func(e event.DeleteEvent) bool { return note(e.Object, false) },
	}
}

// Push implements workqueue.Queue.
func (o *order) Push(item reconcile.Request) { o.waiting = append(o.waiting, item) }

// Pop implements workqueue.Queue. What an object asks for may be learnt only after it was pushed.
func (o *order) Pop() reconcile.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := max(0, slices.IndexFunc(o.waiting, func(item reconcile.Request) bool { return o.running[item.NamespacedName] }))
	item := o.waiting[i]
	o.waiting = slices.Delete(o.waiting, i, i+1)
	return item
}

// Touch implements workqueue.Queue.
func (o *order) Touch(reconcile.Request) {}

// Len implements workqueue.Queue.
func (o *order) Len() int { return len(o.waiting) }

// newQueue makes a queue without a name: one that has a name wakes up twice a second to update its metrics.
func (o *order) newQueue(_ string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{Queue: o})
	delaying := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[reconcile.Request]{Queue: queue})
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{DelayingQueue: delaying})
}
