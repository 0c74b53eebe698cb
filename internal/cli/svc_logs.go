package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/nxadm/tail"
	"github.com/spf13/cobra"
)

func (a *app) svcLogsCommand() *cobra.Command {
	var followed, stdout bool
	cmd := &cobra.Command{
		Use: "logs", Short: "Print the log of the control plane", Args: cobra.NoArgs,
		Example: "  rdd svc logs",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			path := inst.StderrLog()
			if stdout {
				path = inst.StdoutLog()
			}
			return a.printLog(cmd.Context(), path, followed)
		},
	}
	cmd.Flags().BoolVarP(&followed, "follow", "f", false, "go on printing what is added")
	cmd.Flags().BoolVar(&stdout, "stdout", false, "what it wrote to its standard output instead")
	return cmd
}

// printLog prints a file and, if followed, what is added to it, until ctx ends.
func (a *app) printLog(ctx context.Context, path string, followed bool) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !followed {
		return notFoundf("there is no log yet: %s does not exist", path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	if !followed {
		defer file.Close()
		_, err := io.Copy(a.Stdout, file)
		return err
	}
	if file != nil {
		file.Close()
	}
	tailed, err := tail.TailFile(path, tail.Config{Follow: true, ReOpen: true, Logger: tail.DiscardingLogger})
	if err != nil {
		return fmt.Errorf("cannot follow the log: %w", err)
	}
	defer tailed.Cleanup()
	for {
		select {
		case <-ctx.Done():
			return tailed.Stop()
		case line, open := <-tailed.Lines:
			if !open {
				return tailed.Err()
			}
			if _, err := fmt.Fprintln(a.Stdout, line.Text); err != nil {
				return err
			}
		}
	}
}
