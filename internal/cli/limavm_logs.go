package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func (a *app) logsCommand() *cobra.Command {
	var v *logView
	var stdout, serial bool
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print the log of a VM's hostagent", Args: oneName,
		Example:           "  rdd limavm logs dev\n  rdd limavm logs dev --serial --tail 20",
		ValidArgsFunction: a.completeVMs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if stdout && serial {
				return usagef("either --stdout or --serial, not both")
			}
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
			} else if serial {
				path = serialLog(inst.VMDir(vm.Name))
			} else if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				path = inst.WorkerLog(vm.Name) // it has not come further than its creation
			}
			return a.printLog(cmd.Context(), path, v)
		},
	}
	v = logFlags(cmd)
	cmd.Flags().BoolVar(&stdout, "stdout", false, "its events instead: one JSON object a line")
	cmd.Flags().BoolVar(&serial, "serial", false, "what the guest wrote to its serial console instead")
	return cmd
}

// serialLog is the serial console that the guest has written to: which one that is depends on the architecture.
func serialLog(dir string) string {
	first := filepath.Join(dir, "serial.log")
	for _, name := range []string{"serial.log", "serialp.log", "serialv.log"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return path
		}
	}
	return first
}
