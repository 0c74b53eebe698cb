package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

func (a *app) resetCommand() *cobra.Command {
	var w *waiting
	var yes bool
	cmd := &cobra.Command{
		Use: "reset NAME…", Short: "Make VMs anew from their templates; all data in them is lost", Args: names,
		Example:           "  rdd limavm reset dev --yes",
		ValidArgsFunction: a.completeVMs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			return each(args, func(name string) error { return a.reset(cmd.Context(), api, name, yes, w) })
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	w = waitFlags(cmd, vmTimeout)
	return cmd
}

func (a *app) reset(ctx context.Context, api client.WithWatch, name string, yes bool, w *waiting) error {
	vm, err := livingVM(ctx, api, name)
	if err != nil {
		return err
	}
	if !yes {
		if err := a.confirm(ctx, fmt.Sprintf("All data in VM %q will be lost. Reset it?", name)); err != nil {
			return err
		}
	}
	before := vm.DeepCopy()
	if err := change(ctx, api, vm, func(vm *v1alpha1.LimaVM) { request(vm, v1alpha1.AnnotationReset) }); err != nil {
		return fmt.Errorf("cannot reset VM %q: %w", name, err)
	}
	if !w.wait {
		return done(a.Stdout, name, "will be reset")
	}
	if err := a.await(ctx, api, vm, w, goal{"being reset", wasReset(before)}); err != nil {
		return err
	}
	return done(a.Stdout, name, "is reset")
}

// wasReset is reached when the instance was gone, is there again, and runs if it should.
func wasReset(before *v1alpha1.LimaVM) func(*v1alpha1.LimaVM) (bool, error) {
	gone := false
	pending := func(vm *v1alpha1.LimaVM) bool {
		gone = gone || !meta.IsStatusConditionTrue(vm.Status.Conditions, v1alpha1.ConditionCreated)
		return metav1.HasAnnotation(vm.ObjectMeta, v1alpha1.AnnotationReset)
	}
	return afterwards(before, "reset", pending, func(vm *v1alpha1.LimaVM) bool {
		return gone && meta.IsStatusConditionTrue(vm.Status.Conditions, v1alpha1.ConditionCreated) && settled(vm)
	})
}

// confirm asks on a terminal; elsewhere nobody could answer.
func (a *app) confirm(ctx context.Context, question string) error {
	if !a.isTerminal(a.Stdin) || !a.isTerminal(a.Stderr) {
		return usagef("%s Nobody can be asked without a terminal: say --yes", question)
	}
	fmt.Fprintf(a.Stderr, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // ends with the process where nobody answers
		line, _ := bufio.NewReader(a.Stdin).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.Stderr)
		return errors.New("interrupted: nothing was done")
	case line := <-answer:
		if line != "y" && line != "yes" {
			return &refusedError{errors.New("nothing was done: the answer was not yes")}
		}
		return nil
	}
}
