// Command stopafter is a controller that stops each VM once it has run for as long as its annotation example.com/stop-after
// says, such as "8h".
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const annotation = "example.com/stop-after"

func main() {
	ctrl.SetLogger(logr.FromSlogHandler(slog.Default().Handler()))
	if err := run(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// run works with the credentials that KUBECONFIG names, until ctx is done.
func run(ctx context.Context) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).Named("stopafter").For(newVM()).Complete(&stopper{manager.GetClient()})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}

func newVM() *unstructured.Unstructured {
	vm := &unstructured.Unstructured{}
	vm.SetGroupVersionKind(schema.GroupVersionKind{Group: "lima.rancherdesktop.io", Version: "v1alpha1", Kind: "LimaVM"})
	return vm
}

type stopper struct{ client.Client }

func (s *stopper) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	vm := newVM()
	if err := s.Get(ctx, request.NamespacedName, vm); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	after, err := time.ParseDuration(vm.GetAnnotations()[annotation])
	since, running := runningSince(vm)
	if err != nil || !running {
		return reconcile.Result{}, nil // nothing to do until the VM changes
	}
	if left := time.Until(since.Add(after)); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	before := vm.DeepCopy()
	if err := unstructured.SetNestedField(vm.Object, false, "spec", "running"); err != nil {
		return reconcile.Result{}, err
	}
	ctrl.LoggerFrom(ctx).Info("stopping", "after", after.String())
	return reconcile.Result{}, s.Patch(ctx, vm, client.MergeFrom(before))
}

// runningSince is when the condition Running became true.
func runningSince(vm *unstructured.Unstructured) (time.Time, bool) {
	conditions, _, _ := unstructured.NestedSlice(vm.Object, "status", "conditions")
	for _, condition := range conditions {
		fields, ok := condition.(map[string]any)
		if !ok || fields["type"] != "Running" || fields["status"] != "True" {
			continue
		}
		text, _ := fields["lastTransitionTime"].(string)
		since, err := time.Parse(time.RFC3339, text)
		return since, err == nil
	}
	return time.Time{}, false
}
