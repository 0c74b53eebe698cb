// Command vmwatch prints the phase of each VM, and each change of it, a line each.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv("KUBECONFIG")); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	vms := schema.GroupVersionResource{Group: "lima.rancherdesktop.io", Version: "v1alpha1", Resource: "limavms"}
	informer := dynamicinformer.NewDynamicSharedInformerFactory(client, 0).ForResource(vms).Informer()
	phases := map[string]string{}
	show := func(object any) {
		vm, ok := object.(*unstructured.Unstructured)
		if !ok {
			return
		}
		phase, _, _ := unstructured.NestedString(vm.Object, "status", "phase")
		if before, known := phases[vm.GetName()]; known && before == phase {
			return
		}
		phases[vm.GetName()] = phase
		fmt.Printf("%s: %s\n", vm.GetName(), phase)
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: show, UpdateFunc: func(_, object any) { show(object) },
	})
	if err != nil {
		return err
	}
	informer.RunWithContext(ctx)
	return nil
}
