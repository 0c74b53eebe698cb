package cli

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// client talks to this instance's control plane, which is started when it is not running.
func (a *app) client(ctx context.Context) (client.WithWatch, instance.Instance, error) {
	inst, err := a.instance()
	if err != nil {
		return nil, inst, err
	}
	if err := a.ensure(ctx, inst); err != nil {
		return nil, inst, err
	}
	api, err := connect(inst)
	return api, inst, err
}

// credentials are what every client begins with.
func credentials(inst instance.Instance) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", inst.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("cannot read the credentials in %s: %w", inst.Kubeconfig(), err)
	}
	config.QPS = -1 // one user at a time
	return config, nil
}

// connect talks to a control plane that runs. It knows the few kinds it deals in, so that it need not discover them, and adds their
// types by itself, so that those of all other groups stay put off (internal/late).
func connect(inst instance.Instance) (client.WithWatch, error) {
	config, err := credentials(inst)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "rdd"
	scheme := runtime.NewScheme()
	for _, addTo := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.SchemeBuilder.AddToScheme} {
		if err := addTo(scheme); err != nil {
			return nil, fmt.Errorf("cannot set up the API client: %w", err)
		}
	}
	core := schema.GroupVersion{Version: "v1"}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion(), core})
	mapper.Add(v1alpha1.GroupVersion().WithKind("LimaVM"), meta.RESTScopeNamespace)
	mapper.Add(core.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	mapper.Add(core.WithKind("Event"), meta.RESTScopeNamespace)
	mapper.Add(core.WithKind("Namespace"), meta.RESTScopeRoot)
	api, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("cannot set up the API client: %w", err)
	}
	return api, nil
}

// findVM looks for a VM in all namespaces: names are unique.
func findVM(ctx context.Context, api client.Client, name string) (*v1alpha1.LimaVM, error) {
	var list v1alpha1.LimaVMList
	if err := api.List(ctx, &list, client.MatchingFields{"metadata.name": name}); err != nil {
		return nil, fmt.Errorf("cannot look for VM %q: %w", name, err)
	}
	if len(list.Items) == 0 {
		return nil, notFoundf("there is no VM %q; \"rdd limavm list\" shows those there are", name)
	}
	return &list.Items[0], nil
}

// livingVM looks for a VM that something can still be asked of.
func livingVM(ctx context.Context, api client.Client, name string) (*v1alpha1.LimaVM, error) {
	vm, err := findVM(ctx, api, name)
	if err == nil && !vm.DeletionTimestamp.IsZero() {
		return nil, beingDeleted(name)
	}
	return vm, err
}

func beingDeleted(name string) error {
	return &refusedError{fmt.Errorf("VM %q is being deleted; \"rdd limavm delete %s\" waits until it is gone", name, name)}
}

// change patches a VM's object.
func change(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM, mutate func(*v1alpha1.LimaVM)) error {
	before := vm.DeepCopy()
	mutate(vm)
	return api.Patch(ctx, vm, client.MergeFrom(before))
}
