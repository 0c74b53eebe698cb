package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
)

func (a *app) svcResetCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "reset", Short: "Stop everything, then empty the datastore: all objects, VMs and their data are gone, the settings stay", Args: cobra.NoArgs,
		Long: "Stop everything, then empty the datastore: all objects, VMs and their data are gone. The settings, the port, the\n" +
			"credentials and the logs stay. It works without a control plane, also where the datastore is broken. A datastore\n" +
			"that is not rdd's own (--datastore-endpoint) is not touched.",
		Example: "  rdd --instance=scratch svc reset",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			settings, err := a.settingsInForce(inst)
			if err != nil {
				return err
			}
			if err := daemon.CheckReset(inst, settings); err != nil {
				return err
			}
			cfg, err := a.driverConfig(inst)
			if err != nil {
				return err
			}
			cfg.Settings = settings
			if _, err := a.stopDaemon(cmd.Context(), inst, daemon.Stopping{Timeout: timeout, Patient: !cmd.Flags().Changed("timeout")}); err != nil {
				return err
			}
			if err := daemon.Reset(cmd.Context(), cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Stdout, "Instance %q is reset; \"rdd svc start\" starts it\n", inst.Name)
			return err
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", stopTimeout, "how long to wait before the control plane is ended by force; 0 means without limit")
	return cmd
}
