package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/template"
)

// completeTimeout bounds what a press of the tab key waits for.
const completeTimeout = 2 * time.Second

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// ask asks a control plane that runs, for a completion: it never starts one, and what goes wrong completes nothing.
func (a *app) ask(ctx context.Context, do func(ctx context.Context, api client.Client) []string) []string {
	inst, err := a.instance()
	if err != nil {
		return nil
	}
	record, err := daemon.Find(inst)
	if err != nil || !record.Serves() {
		return nil
	}
	api, err := connect(inst)
	if err != nil {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	return do(ctx, api)
}

// completeVMs completes the names of up to limit VMs; 0 means any number.
func (a *app) completeVMs(limit int) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found := a.ask(cmd.Context(), func(ctx context.Context, api client.Client) []string {
			var list v1alpha1.LimaVMList
			if api.List(ctx, &list) != nil {
				return nil
			}
			var found []string
			for i := range list.Items {
				if vm := &list.Items[i]; !slices.Contains(args, vm.Name) {
					found = append(found, cobra.CompletionWithDesc(vm.Name, phaseOf(vm)))
				}
			}
			return found
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTemplate completes what a VM is made from: built-in templates, ConfigMaps and files.
func (a *app) completeTemplate(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.templates(cmd.Context()), cobra.ShellCompDirectiveDefault
}

func (a *app) templates(ctx context.Context) []string {
	var found []string
	for _, name := range template.Builtin() {
		found = append(found, "template:"+name)
	}
	return append(found, a.ask(ctx, func(ctx context.Context, api client.Client) []string {
		var list corev1.ConfigMapList
		if api.List(ctx, &list, client.InNamespace("default")) != nil {
			return nil
		}
		var found []string
		for i := range list.Items {
			if config := &list.Items[i]; config.Data[v1alpha1.TemplateKey] != "" && config.Labels[v1alpha1.LabelTemplateConfigMap] == "" {
				found = append(found, config.Name)
			}
		}
		return found
	})...)
}

// completeNamespaces completes the value of a flag.
func (a *app) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	found := a.ask(cmd.Context(), func(ctx context.Context, api client.Client) []string {
		var list corev1.NamespaceList
		if api.List(ctx, &list) != nil {
			return nil
		}
		var found []string
		for i := range list.Items {
			found = append(found, list.Items[i].Name)
		}
		return found
	})
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeFlag has the value of a flag completed. It fails only for a flag that does not exist, which every test would tell.
func completeFlag(cmd *cobra.Command, flag string, by completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, by); err != nil {
		panic(err)
	}
}
