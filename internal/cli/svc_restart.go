package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// handoverTimeout is what a daemon gets that leaves its VMs alone. One that needs longer hangs, which is what a restart is for.
const handoverTimeout = 30 * time.Second

func (a *app) svcRestartCommand() *cobra.Command {
	var w *waiting
	cmd := &cobra.Command{
		Use: "restart", Short: "Stop the control plane and start it again, with the VMs left running", Args: cobra.NoArgs,
		Long: "Stop the control plane and start it again, with the VMs left running. What \"rdd svc start\" was told for the\n" +
			"session holds on, unless it is told anew.",
		Example: "  rdd svc restart",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			if _, err := a.settings(cmd, inst); err != nil {
				return err
			}
			ctx, cancel := w.context(cmd.Context())
			defer cancel()
			record, err := a.handOver(ctx, inst, sessionFlags(cmd), w.wait, func() error { return nil })
			if err != nil {
				return err
			}
			if record == nil {
				_, err = fmt.Fprintf(a.Stdout, "The control plane of instance %q is starting\n", inst.Name)
				return err
			}
			_, err = fmt.Fprintf(a.Stdout, "The control plane of instance %q is ready: https://%s, PID %d\n", inst.Name, record.Address, record.PID)
			return err
		},
	}
	settingsFlags(cmd)
	w = waitFlags(cmd, startTimeout)
	return cmd
}

// handOver replaces the daemon by a new one, with the flags of the old one's session where none are given, and does something in
// between, while there is none.
func (a *app) handOver(
	ctx context.Context, inst instance.Instance, flags []string, wait bool, between func() error,
) (*daemon.Record, error) {
	old, err := daemon.Find(inst)
	if err != nil {
		return nil, err
	}
	if old != nil {
		flags = append(old.Session, flags...)
	}
	_, err = daemon.Stop(ctx, inst, daemon.Stopping{Timeout: handoverTimeout, KeepVMs: true})
	if errors.Is(err, daemon.ErrForced) || is[*daemon.FailedError](err) {
		a.note("%s", describe(err)) // it is gone all the same
	} else if err != nil {
		return nil, err
	}
	if err := between(); err != nil {
		return nil, err
	}
	record, _, err := a.launch(ctx, inst, flags, wait)
	return record, err
}
