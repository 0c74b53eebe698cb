package faults

import (
	"context"
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	toolswatch "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
)

// resuming watches as kubectl and every informer do, by a connection of its own.
type resuming struct{ api client.WithWatch }

func (r resuming) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return r.api.Watch(ctx, &v1alpha1.LimaVMList{}, &client.ListOptions{Raw: &options})
}

// TestWatchesResume: the control plane is restarted, by request and by force, while VMs run and somebody goes on writing. Whoever
// watches goes on from where he was: he sees every acknowledged write, once and in order, and is never told to list anew. It fails
// when the watch begins anew instead ("" for ResourceVersion).
func TestWatchesResume(t *testing.T) {
	t.Parallel()
	s := newBuiltSite(t, buildDaemon)
	s.launch()
	for _, name := range []string{"one", "two", "three"} {
		s.make(name)
		s.patch(name, wantRunning(true))
	}
	obj := s.awaitPhase("one", v1alpha1.PhaseRunning)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watcher, err := toolswatch.NewRetryWatcherWithContext(ctx, obj.ResourceVersion, resuming{s.api})
	s.must(err)
	defer watcher.Stop()

	const stop, kill, end = 50, 150, 300 // the writes at which the daemon is asked to go, and is killed, and the test ends
	written := make(chan int, end)       // the writer does not wait for anybody
	go s.number(ctx, "one", written)
	seen := 0
	for n := range written {
		for seen < n {
			select {
			case event := <-watcher.ResultChan():
				obj, ok := event.Object.(*v1alpha1.LimaVM)
				if !ok {
					t.Fatalf("after write %d the watch says %v", seen, event.Object)
				}
				number, _ := strconv.Atoi(obj.Labels["number"])
				if obj.Name != "one" || number == seen {
					continue // somebody else's write, or that of a status
				}
				if number != seen+1 {
					t.Fatalf("write %d follows write %d", number, seen)
				}
				seen = number
			case <-ctx.Done():
				t.Fatalf("write %d was acknowledged, and the watch came to %d", n, seen)
			}
		}
		switch n {
		case stop:
			if _, err := daemon.Stop(ctx, s.cfg.Instance, daemon.Stopping{Timeout: patience, KeepVMs: true}); err != nil {
				t.Fatal(err)
			}
			s.launch()
		case kill:
			s.killDaemon()
			s.launch()
		case end:
			return
		}
	}
}

// number labels a VM with 1, 2, 3 and so on, each until it is acknowledged, and tells which was.
func (s *site) number(ctx context.Context, name string, written chan<- int) {
	api := s.api
	for n := 1; ; n++ {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"number":"`+strconv.Itoa(n)+`"}}}`))
		obj := &v1alpha1.LimaVM{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		for api.Patch(ctx, obj, patch) != nil {
			if ctx.Err() != nil {
				return
			}
		}
		select {
		case written <- n:
		case <-ctx.Done():
			return
		}
	}
}
