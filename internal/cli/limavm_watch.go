package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// watchVMs prints the VMs that there are, and then a line for each change, until ctx ends.
func (a *app) watchVMs(ctx context.Context, api client.WithWatch, list *v1alpha1.LimaVMList, namespace string, f *format) error {
	c := &columns{w: a.Stdout, quiet: f.output != "table" || f.noHeaders}
	var rows [][]string
	for i := range list.Items {
		rows = append(rows, vmRow(&list.Items[i], time.Now()))
	}
	c.header(rows, vmHeader()...)
	show := func(vm *v1alpha1.LimaVM, gone bool) error {
		switch f.output {
		case "json":
			vm.SetGroupVersionKind(v1alpha1.LimaVMKind())
			vm.ManagedFields = nil
			return json.NewEncoder(a.Stdout).Encode(vm)
		case "name":
			_, err := fmt.Fprintln(a.Stdout, vm.Name)
			return err
		}
		row := vmRow(vm, time.Now())
		if gone {
			row[2], row[len(row)-1] = "Deleted", ""
		}
		return c.row(row...)
	}
	for i := range list.Items {
		if err := show(&list.Items[i], false); err != nil {
			return err
		}
	}
	version := list.ResourceVersion
	for ctx.Err() == nil { // who follows ends it so
		stream, err := api.Watch(ctx, &v1alpha1.LimaVMList{}, client.InNamespace(namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
		if err == nil {
			version, err = showChanges(ctx, stream, version, show)
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("cannot follow the VMs: %w", err)
		}
	}
	return nil
}

func showChanges(ctx context.Context, stream watch.Interface, version string, show func(vm *v1alpha1.LimaVM, gone bool) error) (string, error) {
	defer stream.Stop()
	for {
		select {
		case <-ctx.Done():
			return version, nil
		case event, open := <-stream.ResultChan():
			if !open {
				return version, nil
			}
			vm, ok := event.Object.(*v1alpha1.LimaVM)
			if !ok {
				return version, fmt.Errorf("the control plane ended the watch: %v", event.Object)
			}
			version = vm.ResourceVersion
			if err := show(vm, event.Type == watch.Deleted); err != nil {
				return version, err
			}
		}
	}
}
