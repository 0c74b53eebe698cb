package limavm

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// Changes carries the driver's notifications to the controller. The driver is made before the controller, so what it
// announces early is kept until the controller has started.
type Changes struct {
	reader client.Reader // the manager's cache; set before Start

	mu      sync.Mutex
	pending map[string]struct{}
	since   map[string]time.Time // when the first change of a name was told that has not been looked at
	wake    chan struct{}        // has room for one
}

// NewChanges makes a Changes; give its Notify to the driver.
func NewChanges() *Changes {
	return &Changes{pending: map[string]struct{}{}, since: map[string]time.Time{}, wake: make(chan struct{}, 1)}
}

// Notify tells that something about the instance called name has changed. It never blocks.
func (c *Changes) Notify(name string) {
	c.mu.Lock()
	c.pending[name] = struct{}{}
	if _, ok := c.since[name]; !ok {
		c.since[name] = time.Now()
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Start has every object of a name reconciled when something about the instance of that name changes. It makes Changes a
// source.Source.
func (c *Changes) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.wake:
				c.deliver(ctx, queue)
			}
		}
	}()
	return nil
}

func (c *Changes) deliver(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	c.mu.Lock()
	names := c.pending
	c.pending = map[string]struct{}{}
	c.mu.Unlock()
	for name := range names {
		var objects v1alpha1.LimaVMList
		if err := c.reader.List(ctx, &objects, client.MatchingFields{nameIndex: name}); err != nil {
			// The cache is being stopped, and ctx is about to be done; anything else gets better or worse with time.
			time.AfterFunc(longestRetry, func() { c.Notify(name) })
			continue
		}
		if len(objects.Items) == 0 {
			c.answer(name)
		}
		for i := range objects.Items {
			queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&objects.Items[i])})
		}
	}
}

// answer tells since when a change of a name has been waiting for the look that is taken now.
func (c *Changes) answer(name string) (since time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since, ok = c.since[name]
	delete(c.since, name)
	return since, ok
}

// String names the source in the controller's log.
func (c *Changes) String() string { return "driver" }

func indexNames(mgr manager.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.LimaVM{}, nameIndex, func(obj client.Object) []string {
		return []string{obj.GetName()}
	})
	if err != nil {
		return fmt.Errorf("cannot index LimaVMs by name: %w", err)
	}
	return nil
}

// templateOwner maps the ConfigMap with a template to its LimaVM: by name, because the owner reference may be gone.
func templateOwner() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		name, ok := strings.CutSuffix(obj.GetName(), v1alpha1.TemplateSuffix)
		if !ok {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}}}
	})
}
