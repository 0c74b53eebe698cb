package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

func (a *app) startCommand() *cobra.Command {
	var w *waiting
	cmd := &cobra.Command{
		Use: "start NAME…", Short: "Start VMs and wait until they can be entered", Args: names,
		Example:           "  rdd limavm start dev",
		ValidArgsFunction: a.completeVMs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			return each(args, func(name string) error { return a.start(cmd.Context(), api, name, w) })
		},
	}
	w = waitFlags(cmd, vmTimeout)
	return cmd
}

func (a *app) start(ctx context.Context, api client.WithWatch, name string, w *waiting) error {
	vm, err := livingVM(ctx, api, name)
	if err != nil {
		return err
	}
	if err := change(ctx, api, vm, func(vm *v1alpha1.LimaVM) { vm.Spec.Running = true }); err != nil {
		return fmt.Errorf("cannot start VM %q: %w", name, err)
	}
	if !w.wait {
		return done(a.Stdout, name, "will start")
	}
	return a.awaitRunning(ctx, api, vm, w)
}

func (a *app) awaitRunning(ctx context.Context, api client.WithWatch, vm *v1alpha1.LimaVM, w *waiting) error {
	if err := a.await(ctx, api, vm, w, goal{"starting", running}); err != nil {
		return err
	}
	return done(a.Stdout, vm.Name, "is running; \"rdd limavm shell "+vm.Name+"\" enters it")
}
