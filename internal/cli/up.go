package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seed-192657fa/rdd/internal/template"
)

// defaultVM is the VM that up and down are about unless told otherwise.
const defaultVM = "default"

func (a *app) upCommand() *cobra.Command {
	c := creation{start: true}
	var w *waiting
	cmd := &cobra.Command{
		Use: "up [NAME]", Short: "Get a VM running: control plane on, VM made if it is missing, started, waited for",
		Example: "  rdd up\n  rdd up dev --template template:debian",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.name = defaultVM
			if len(args) == 1 {
				c.name = args[0]
			}
			if err := vmName(c.name); err != nil {
				return usage(err)
			}
			return a.up(cmd.Context(), &c, w)
		},
	}
	cmd.Flags().StringVar(&c.source, "template", "template:"+template.Default, "what the VM is made from where it is missing, as for \"rdd limavm create\"")
	cmd.Flags().StringVarP(&c.namespace, "namespace", "n", metav1.NamespaceDefault, "namespace of a VM that is made")
	w = waitFlags(cmd, vmTimeout)
	cmd.ValidArgsFunction = a.completeVMs(1)
	completeFlag(cmd, "template", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.templates(cmd.Context()), cobra.ShellCompDirectiveDefault
	})
	completeFlag(cmd, "namespace", a.completeNamespaces)
	return cmd
}

func (a *app) up(ctx context.Context, c *creation, w *waiting) error {
	api, _, err := a.client(ctx)
	if err != nil {
		return err
	}
	vm, err := findVM(ctx, api, c.name)
	if err == nil && w.wait && !vm.DeletionTimestamp.IsZero() {
		if err := a.await(ctx, api, vm, w, goal{"being deleted", gone}); err != nil {
			return err
		}
		return a.create(ctx, c, w)
	}
	if is[*notFoundError](err) {
		return a.create(ctx, c, w)
	}
	if err != nil {
		return fmt.Errorf("cannot get VM %q up: %w", c.name, err)
	}
	return a.start(ctx, api, c.name, w)
}
