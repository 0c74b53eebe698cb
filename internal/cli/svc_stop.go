package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// stopTimeout leaves VMs their default grace, force included, with time to spare.
const stopTimeout = 5 * time.Minute

func (a *app) svcStopCommand() *cobra.Command {
	var how daemon.Stopping
	cmd := &cobra.Command{
		Use: "stop", Short: "Shut all VMs down, then stop the control plane", Args: cobra.NoArgs,
		Example: "  rdd svc stop\n  rdd svc stop --keep-vms",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			how.Patient = !cmd.Flags().Changed("timeout")
			was, err := daemon.Stop(cmd.Context(), inst, how)
			if err != nil {
				return err
			}
			state := "has stopped"
			if !was {
				state = "was not running"
				if err := a.stopLeftVMs(cmd.Context(), inst, how); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(a.Stdout, "The control plane of instance %q %s\n", inst.Name, state)
			return err
		},
	}
	cmd.Flags().BoolVar(&how.KeepVMs, "keep-vms", false, "leave the VMs running, for the next control plane to take over")
	cmd.Flags().DurationVar(&how.Timeout, "timeout", stopTimeout, "how long to wait before it is ended by force; 0 means without limit")
	return cmd
}

// stopLeftVMs shuts down what runs without a control plane, because that crashed or was told to keep it.
func (a *app) stopLeftVMs(ctx context.Context, inst instance.Instance, how daemon.Stopping) error {
	if how.KeepVMs {
		return nil
	}
	cfg, err := a.driverConfig(inst)
	if err != nil {
		return err
	}
	return daemon.StopVMs(ctx, cfg)
}
