package limavm

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// TestOrder fails when Pop takes what came first, and when notice forgets what an update says.
func TestOrder(t *testing.T) {
	o := newOrder()
	queue := o.newQueue("", workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	notice := o.notice()
	add := func(name string, running bool) client.Object {
		obj := &v1alpha1.LimaVM{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1alpha1.LimaVMSpec{Running: running}}
		notice.Create(event.CreateEvent{Object: obj})
		return obj
	}
	add("a", false)
	add("b", true)
	c := add("c", true)
	add("d", true)
	stopped := c.DeepCopyObject().(*v1alpha1.LimaVM)
	stopped.Spec.Running = false
	notice.Update(event.UpdateEvent{ObjectOld: c, ObjectNew: stopped})
	notice.Delete(event.DeleteEvent{Object: add("e", true)})
	for _, name := range []string{"a", "b", "c", "d", "e", "b"} {
		queue.Add(reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "default", Name: name}})
	}
	if queue.Len() != 5 {
		t.Errorf("%d wait, want 5", queue.Len())
	}
	var got []string
	for queue.Len() > 0 {
		item, _ := queue.Get()
		got = append(got, item.Name)
		queue.Done(item)
	}
	if want := []string{"b", "d", "a", "c", "e"}; !slices.Equal(got, want) {
		t.Errorf("looked at in the order %v, want %v", got, want)
	}
}
