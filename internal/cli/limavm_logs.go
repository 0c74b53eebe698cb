package cli

import (
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) logsCommand() *cobra.Command {
	var followed, stdout bool
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print the log of a VM's hostagent", Args: oneName,
		Example: "  rdd limavm logs dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, inst, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			vm, err := findVM(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			path := inst.AgentLog(vm.Name)
			if stdout {
				path = inst.JournalFile(vm.Name)
			} else if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				path = inst.WorkerLog(vm.Name) // it has not come further than its creation
			}
			return a.printLog(cmd.Context(), path, followed)
		},
	}
	cmd.Flags().BoolVarP(&followed, "follow", "f", false, "go on printing what is added")
	cmd.Flags().BoolVar(&stdout, "stdout", false, "its events instead: one JSON object a line")
	return cmd
}
