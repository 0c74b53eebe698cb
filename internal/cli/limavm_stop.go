package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// stopping holds the flags of a command that ends a VM.
type stopping struct {
	force bool
	grace int32
}

func stopFlags(cmd *cobra.Command) *stopping {
	s := &stopping{}
	cmd.Flags().BoolVar(&s.force, "force", false, "end it at once, as if its power was cut")
	cmd.Flags().Int32Var(&s.grace, "grace-period", -1, "seconds that the guest has to shut down before it is ended by force; stays in the VM's spec")
	previous := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if s.force && cmd.Flags().Changed("grace-period") {
			return usagef("either --force or --grace-period, not both")
		}
		if cmd.Flags().Changed("grace-period") && s.grace < 0 {
			return usagef("--grace-period must not be negative")
		}
		if previous != nil {
			return previous(cmd, args)
		}
		return nil
	}
	return s
}

func (s *stopping) apply(vm *v1alpha1.LimaVM) {
	if s.grace >= 0 {
		vm.Spec.StopGracePeriodSeconds = &s.grace
	}
	if s.force {
		if vm.Annotations == nil {
			vm.Annotations = map[string]string{}
		}
		vm.Annotations[v1alpha1.AnnotationForceStop] = "true"
	}
}

func (a *app) stopCommand() *cobra.Command {
	var w *waiting
	var s *stopping
	cmd := &cobra.Command{
		Use: "stop NAME…", Short: "Shut VMs down", Args: names,
		Example:           "  rdd limavm stop dev",
		ValidArgsFunction: a.completeVMs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			return each(args, func(name string) error { return a.stop(cmd.Context(), api, name, s, w) })
		},
	}
	s, w = stopFlags(cmd), waitFlags(cmd, vmTimeout)
	return cmd
}

func (a *app) stop(ctx context.Context, api client.WithWatch, name string, s *stopping, w *waiting) error {
	vm, err := findVM(ctx, api, name)
	if err != nil {
		return err
	}
	err = change(ctx, api, vm, func(vm *v1alpha1.LimaVM) {
		vm.Spec.Running = false
		s.apply(vm)
	})
	if err != nil {
		return fmt.Errorf("cannot stop VM %q: %w", name, err)
	}
	if !w.wait {
		return done(a.Stdout, name, "will stop")
	}
	last := vm
	reached := func(now *v1alpha1.LimaVM) (bool, error) {
		last = now
		return stopped(now)
	}
	if err := a.await(ctx, api, vm, w, goal{"stopping", reached}); err != nil {
		return err
	}
	if last != nil && isUnmade(last) {
		return done(a.Stdout, name, "does not run: it could not be created, which goes on being tried; \"rdd limavm status "+name+"\" tells why")
	}
	return done(a.Stdout, name, "has stopped")
}

// isUnmade tells whether there is no instance, and making it fails.
func isUnmade(vm *v1alpha1.LimaVM) bool {
	failure := failureOf(vm)
	return failure != nil && failure.Type == v1alpha1.ConditionCreated
}
