package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/login"
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
			was, err := a.stopDaemon(cmd.Context(), inst, how)
			if err != nil {
				return err
			}
			// Also after it has ended: it may have died over it, or been asked before it knew its VMs.
			if err := a.stopLeftVMs(cmd.Context(), inst, how); err != nil {
				return err
			}
			state := "has stopped"
			if !was {
				state = "was not running"
			}
			_, err = fmt.Fprintf(a.Stdout, "The control plane of instance %q %s\n", inst.Name, state)
			return err
		},
	}
	cmd.Flags().BoolVar(&how.KeepVMs, "keep-vms", false, "leave the VMs running, for the next control plane to take over")
	cmd.Flags().DurationVar(&how.Timeout, "timeout", stopTimeout, "how long to wait before it is ended by force; 0 means without limit")
	return cmd
}

// stopDaemon is daemon.Stop for good: what had to be ended by force, the system would start again.
func (a *app) stopDaemon(ctx context.Context, inst instance.Instance, how daemon.Stopping) (was bool, err error) {
	was, err = daemon.Stop(ctx, inst, how)
	if errors.Is(err, daemon.ErrForced) {
		if _, plan, unplanned := a.loginPlan(); unplanned == nil { // what no plan can be made for was never installed
			err = errors.Join(err, login.Halt(context.WithoutCancel(ctx), plan))
		}
	}
	return was, err
}

// stopLeftVMs shuts down what runs without a control plane.
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
