package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// param is one parameter of a VM's template.
type param struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Set     bool   `json:"set"`
}

func (a *app) paramsCommand() *cobra.Command {
	var f *format
	var w *waiting
	var unset []string
	cmd := &cobra.Command{
		Use: "params NAME [KEY=VALUE…]", Short: "Show the parameters of a VM, or set them; a running VM is restarted with them",
		Example: "  rdd limavm params dev\n  rdd limavm params dev FLAVOR=large\n  rdd limavm params dev --unset FLAVOR",
		Args: func(_ *cobra.Command, args []string) error {
			for _, arg := range args[min(1, len(args)):] {
				if key, _, ok := strings.Cut(arg, "="); !ok || key == "" {
					return fmt.Errorf("KEY=VALUE was expected, got %q", arg)
				}
			}
			return names(nil, args[:min(1, len(args))])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			vm, err := findVM(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			if len(args) == 1 && len(unset) == 0 {
				return a.showParams(cmd.Context(), api, vm, f)
			}
			return a.setParams(cmd.Context(), api, vm, args[1:], unset, w)
		},
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return a.completeVMs(1)(cmd, args, toComplete)
		}
		return a.paramNames(cmd.Context(), args[0], "="), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	cmd.Flags().StringSliceVar(&unset, "unset", nil, "parameter that gets back the value of the template; may be repeated")
	completeFlag(cmd, "unset", func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.paramNames(cmd.Context(), args[0], ""), cobra.ShellCompDirectiveNoFileComp
	})
	f, w = formatFlags(cmd, "table", "json", "yaml"), waitFlags(cmd, vmTimeout)
	return cmd
}

// paramNames completes the names of parameters.
func (a *app) paramNames(ctx context.Context, name, suffix string) []string {
	return a.ask(ctx, func(ctx context.Context, api client.Client) []string {
		vm, err := findVM(ctx, api, name)
		if err != nil {
			return nil
		}
		params, err := paramsOf(ctx, api, vm)
		if err != nil {
			return nil
		}
		var found []string
		for _, p := range params {
			found = append(found, cobra.CompletionWithDesc(p.Name+suffix, p.Value))
		}
		return found
	})
}

// paramsOf are the parameters of a VM's template, with the values that hold.
func paramsOf(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM) ([]param, error) {
	config, err := templateConfig(ctx, api, vm)
	if err != nil {
		return nil, err
	}
	var content struct {
		Param map[string]string `json:"param"`
	}
	if err := yaml.Unmarshal([]byte(config.Data[v1alpha1.TemplateKey]), &content); err != nil {
		return nil, fmt.Errorf("cannot read the parameters of VM %q: %w", vm.Name, err)
	}
	params := []param{}
	for _, name := range slices.Sorted(maps.Keys(content.Param)) {
		p := param{Name: name, Value: content.Param[name], Default: content.Param[name]}
		if value, ok := vm.Spec.Params[name]; ok {
			p.Value, p.Set = value, true
		}
		params = append(params, p)
	}
	return params, nil
}

func (a *app) showParams(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM, f *format) error {
	params, err := paramsOf(ctx, api, vm)
	if err != nil {
		return err
	}
	if f.output != "table" {
		return f.data(a.Stdout, params)
	}
	if len(params) == 0 {
		a.note("The template of VM %q has no parameters.", vm.Name)
		return nil
	}
	rows := [][]string{{"NAME", "VALUE", "DEFAULT"}}
	for _, p := range params {
		rows = append(rows, []string{p.Name, p.Value, p.Default})
	}
	return f.table(a.Stdout, rows)
}

func (a *app) setParams(ctx context.Context, api client.WithWatch, vm *v1alpha1.LimaVM, pairs, unset []string, w *waiting) error {
	if !vm.DeletionTimestamp.IsZero() {
		return beingDeleted(vm.Name)
	}
	before := vm.DeepCopy()
	err := change(ctx, api, vm, func(vm *v1alpha1.LimaVM) {
		if vm.Spec.Params == nil {
			vm.Spec.Params = map[string]string{}
		}
		for _, pair := range pairs {
			key, value, _ := strings.Cut(pair, "=")
			vm.Spec.Params[key] = value
		}
		for _, key := range unset {
			delete(vm.Spec.Params, key)
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("cannot change the parameters of VM %q: %w", vm.Name, err)
	case vm.Generation == before.Generation:
		return done(a.Stdout, vm.Name, "has these parameters already")
	case !w.wait:
		return done(a.Stdout, vm.Name, "will get the changed parameters")
	}
	config, err := templateConfig(ctx, api, vm)
	if apierrors.IsNotFound(err) { // the VM is about to get it
		config, err = &corev1.ConfigMap{}, nil
	}
	if err != nil {
		return err
	}
	pending := func(now *v1alpha1.LimaVM) bool { return now.Status.ObservedGeneration < vm.Generation }
	// What the instance has need not differ from before: this change may take back one that is under way.
	applied := func(now *v1alpha1.LimaVM) bool { return hasTemplate(now, config.ResourceVersion) && settled(now) }
	if err := a.await(ctx, api, vm, w, goal{"getting the changed parameters", afterwards(before, "change", pending, applied)}); err != nil {
		return err
	}
	return done(a.Stdout, vm.Name, "has the changed parameters")
}
