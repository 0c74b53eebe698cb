package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

func (a *app) restartCommand() *cobra.Command {
	var w *waiting
	cmd := &cobra.Command{
		Use: "restart NAME…", Short: "Shut VMs down and start them again; one that does not run is started", Args: names,
		Example:           "  rdd limavm restart dev",
		ValidArgsFunction: a.completeVMs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			return each(args, func(name string) error { return a.restart(cmd.Context(), api, name, w) })
		},
	}
	w = waitFlags(cmd, vmTimeout)
	return cmd
}

func (a *app) restart(ctx context.Context, api client.WithWatch, name string, w *waiting) error {
	vm, err := livingVM(ctx, api, name)
	if err != nil {
		return err
	}
	before := vm.DeepCopy()
	err = change(ctx, api, vm, func(vm *v1alpha1.LimaVM) {
		vm.Spec.Running = true
		request(vm, v1alpha1.AnnotationRestart)
	})
	if err != nil {
		return fmt.Errorf("cannot restart VM %q: %w", name, err)
	}
	if !w.wait {
		return done(a.Stdout, name, "will restart")
	}
	if err := a.await(ctx, api, vm, w, goal{"restarting", restarted(before)}); err != nil {
		return err
	}
	return done(a.Stdout, name, "has restarted")
}

// request asks for something once. The value says when, for people who look at the object.
func request(vm *v1alpha1.LimaVM, annotation string) {
	metav1.SetMetaDataAnnotation(&vm.ObjectMeta, annotation, time.Now().UTC().Format(time.RFC3339Nano))
}

// restarted is reached when the VM runs with another agent than before.
func restarted(before *v1alpha1.LimaVM) func(*v1alpha1.LimaVM) (bool, error) {
	pending := func(vm *v1alpha1.LimaVM) bool {
		return metav1.HasAnnotation(vm.ObjectMeta, v1alpha1.AnnotationRestart) || vm.Status.RestartNeeded
	}
	return afterwards(before, "restart", pending, func(vm *v1alpha1.LimaVM) bool {
		return settled(vm) && agentOf(vm) != agentOf(before)
	})
}

func agentOf(vm *v1alpha1.LimaVM) string {
	if vm.Status.Host == nil {
		return ""
	}
	return vm.Status.Host.Identity
}
