package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func (a *app) deleteCommand() *cobra.Command {
	var w *waiting
	var s *stopping
	cmd := &cobra.Command{
		Use: "delete NAME…", Short: "Shut VMs down and remove them with their data", Aliases: []string{"rm"}, Args: names,
		Example:           "  rdd limavm delete dev",
		ValidArgsFunction: a.completeVMs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			return each(args, func(name string) error { return a.delete(cmd.Context(), api, name, s, w) })
		},
	}
	s, w = stopFlags(cmd), waitFlags(cmd, vmTimeout)
	return cmd
}

func (a *app) delete(ctx context.Context, api client.WithWatch, name string, s *stopping, w *waiting) error {
	vm, err := findVM(ctx, api, name)
	if err != nil {
		return err
	}
	// The one that was found, not one that somebody makes meanwhile.
	err = client.IgnoreNotFound(api.Delete(ctx, vm, client.Preconditions{UID: &vm.UID}))
	// Only now: a request for force is forgotten where nothing is to be stopped.
	if err == nil && (s.force || s.grace >= 0) {
		err = client.IgnoreNotFound(change(ctx, api, vm, s.apply))
	}
	if err != nil {
		return fmt.Errorf("cannot delete VM %q: %w", name, err)
	}
	if !w.wait {
		return done(a.Stdout, name, "will be deleted")
	}
	if err := a.await(ctx, api, vm, w, goal{"being deleted", gone}); err != nil {
		return err
	}
	return done(a.Stdout, name, "is deleted")
}
