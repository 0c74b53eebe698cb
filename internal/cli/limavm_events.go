package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

func (a *app) eventsCommand() *cobra.Command {
	var f *format
	var followed bool
	cmd := &cobra.Command{
		Use: "events [NAME]", Short: "Print what has happened to a VM, or to all", Args: cobra.MaximumNArgs(1),
		Example:           "  rdd limavm events dev\n  rdd limavm events -f",
		ValidArgsFunction: a.completeVMs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if followed && f.output == "yaml" {
				return usagef("-f goes with -o table or -o json")
			}
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			var vm *v1alpha1.LimaVM
			if len(args) == 1 {
				if vm, err = findVM(cmd.Context(), api, args[0]); err != nil {
					return err
				}
			}
			return a.printEvents(cmd.Context(), api, vm, f, followed)
		},
	}
	cmd.Flags().BoolVarP(&followed, "follow", "f", false, "go on printing what happens")
	f = formatFlags(cmd, "table", "json", "yaml")
	return cmd
}

// eventSelection selects the events about a VM, or about all where it is nil.
func eventSelection(vm *v1alpha1.LimaVM) []client.ListOption {
	fields := client.MatchingFields{"involvedObject.kind": v1alpha1.LimaVMKind().Kind}
	namespace := ""
	if vm != nil {
		fields["involvedObject.name"], namespace = vm.Name, vm.Namespace
	}
	return []client.ListOption{fields, client.InNamespace(namespace)}
}

// listEvents returns events about a VM, or all where it is nil, the oldest first, and the version from which to follow.
func listEvents(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM) (events []corev1.Event, version string, err error) {
	var list corev1.EventList
	if err := api.List(ctx, &list, eventSelection(vm)...); err != nil {
		return nil, "", fmt.Errorf("cannot read the events: %w", err)
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int {
		if c := a.LastTimestamp.Compare(b.LastTimestamp.Time); c != 0 {
			return c
		}
		// Within a second, the store's versions have the order.
		return cmp.Or(cmp.Compare(len(a.ResourceVersion), len(b.ResourceVersion)), cmp.Compare(a.ResourceVersion, b.ResourceVersion))
	})
	for i := range list.Items {
		list.Items[i].ManagedFields = nil
	}
	if list.Items == nil {
		list.Items = []corev1.Event{}
	}
	return list.Items, list.ResourceVersion, nil
}

func (a *app) printEvents(ctx context.Context, api client.WithWatch, vm *v1alpha1.LimaVM, f *format, followed bool) error {
	events, version, err := listEvents(ctx, api, vm)
	if err != nil {
		return err
	}
	if f.output != "table" && !followed {
		return f.data(a.Stdout, events)
	}
	if len(events) == 0 && !followed {
		a.note("Nothing has happened yet, or it is long ago.")
		return nil
	}
	c := &columns{w: a.Stdout, quiet: f.output != "table" || f.noHeaders}
	var rows [][]string
	for i := range events {
		rows = append(rows, eventRow(&events[i]))
	}
	c.header(rows, fmt.Sprintf("%-*s", len(time.DateTime), "TIME"), "VM        ", "TYPE   ", "REASON      ", "MESSAGE")
	show := func(e *corev1.Event) error {
		if f.output == "json" {
			return json.NewEncoder(a.Stdout).Encode(e)
		}
		return c.row(eventRow(e)...)
	}
	for i := range events {
		if err := show(&events[i]); err != nil {
			return err
		}
	}
	if !followed {
		return nil
	}
	return followEvents(ctx, api, vm, version, show)
}

func eventRow(e *corev1.Event) []string {
	return []string{e.LastTimestamp.Local().Format(time.DateTime), e.InvolvedObject.Name, e.Type, e.Reason, firstLine(e.Message)}
}

// followEvents shows what happens from a version on, until ctx ends.
func followEvents(ctx context.Context, api client.WithWatch, vm *v1alpha1.LimaVM, version string, show func(*corev1.Event) error) error {
	for ctx.Err() == nil { // who follows ends it so
		options := append(eventSelection(vm), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
		stream, err := api.Watch(ctx, &corev1.EventList{}, options...)
		if err == nil {
			version, err = showEvents(ctx, stream, version, show)
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("cannot follow the events: %w", err)
		}
	}
	return nil
}

func showEvents(ctx context.Context, stream watch.Interface, version string, show func(*corev1.Event) error) (string, error) {
	defer stream.Stop()
	for {
		select {
		case <-ctx.Done():
			return version, nil
		case change, open := <-stream.ResultChan():
			if !open {
				return version, nil
			}
			event, ok := change.Object.(*corev1.Event)
			if !ok {
				return version, fmt.Errorf("the control plane ended the watch: %v", change.Object)
			}
			version = event.ResourceVersion
			if change.Type == watch.Deleted {
				continue
			}
			event.ManagedFields = nil
			if err := show(event); err != nil {
				return version, err
			}
		}
	}
}
