// Package hostagent owns the child processes in which Lima's library runs: one agent for each VM, which outlives the daemon,
// and short-lived workers that create, change and delete instances. A fatal error, a hang or a race in Lima so costs one
// child and never the daemon.
//
// A child learns what to do from its standard input (control.Boot), and tells through inherited pipes, the journal and
// the control socket. LIMA_HOME comes in the environment, because Lima reads it there, so one child serves one home.
package hostagent

import (
	"context"

	"github.com/spf13/cobra"
)

// Commands returns the hidden commands that the binary must offer: "hostagent", which the daemon starts, and "usernet",
// which Lima starts as os.Executable().
func Commands() []*cobra.Command {
	group := &cobra.Command{
		Use:    "hostagent",
		Short:  "Run one of the daemon's children",
		Hidden: true,
	}
	group.AddCommand(
		child("run", "Run the VM called NAME until it stops", runAgent),
		child("create", "Create the instance called NAME", createInstance),
		child("apply", "Give the instance called NAME another template", applyTemplate),
		child("delete", "Delete the instance called NAME", deleteInstance),
		child("networks", "Start the networks that the instance called NAME wants", startNetworks),
	)
	return []*cobra.Command{group, usernetCommand()}
}

func child(verb, short string, run func(ctx context.Context, name string) error) *cobra.Command {
	return &cobra.Command{
		Use:           verb + " NAME",
		Short:         short,
		Args:          cobra.ExactArgs(1),
		Hidden:        true,
		SilenceUsage:  true,
		SilenceErrors: true, // whoever started the child gets its error through the pipe or the journal
		RunE:          func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), args[0]) },
	}
}
