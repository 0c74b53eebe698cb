package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

func (a *app) limavmCommand() *cobra.Command {
	return group("limavm", "Make, start, enter and remove VMs", []string{"lima", "vm"},
		a.createCommand(), a.listCommand(), a.statusCommand(), a.startCommand(), a.stopCommand(), a.restartCommand(), a.resetCommand(),
		a.editCommand(), a.paramsCommand(), a.deleteCommand(), a.shellCommand(), a.copyCommand(), a.sshConfigCommand(), a.eventsCommand(),
		a.logsCommand())
}

// names wants at least one argument that can be a VM's name.
func names(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("the name of a VM is missing")
	}
	for _, name := range args {
		if err := vmName(name); err != nil {
			return err
		}
	}
	return nil
}

// oneName wants exactly one argument that can be a VM's name.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("one name was expected, got %d: %q", len(args), args)
	}
	return names(cmd, args)
}

func vmName(name string) error {
	if name == "" {
		return errors.New("the name of a VM is empty")
	}
	return nil
}

// each does something for each name, and goes on after an error.
func each(names []string, do func(name string) error) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, do(name))
	}
	return errors.Join(errs...)
}

func phaseOf(vm *v1alpha1.LimaVM) string {
	if vm.Status.Phase == "" {
		return string(v1alpha1.PhasePending)
	}
	return string(vm.Status.Phase)
}

// done prints the one line of result that a command on a VM has.
func done(w io.Writer, vm string, what string) error {
	_, err := fmt.Fprintf(w, "VM %q %s\n", vm, what)
	return err
}
