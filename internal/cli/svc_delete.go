package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/logging"
	"github.com/seed-192657fa/rdd/internal/login"
)

func (a *app) svcDeleteCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "delete", Short: "Stop everything, then remove all files of this instance, VMs and their data included", Args: cobra.NoArgs,
		Long: "Stop everything, then remove all files of this instance, VMs and their data included. What \"rdd svc install\" has\n" +
			"installed is uninstalled.",
		Example: "  rdd --instance=scratch svc delete",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			if _, err := a.stopDaemon(cmd.Context(), inst, daemon.Stopping{Timeout: timeout, Patient: !cmd.Flags().Changed("timeout")}); err != nil {
				return err
			}
			cfg, err := a.driverConfig(inst)
			if err != nil {
				return err
			}
			// What no plan can be made for was never installed.
			if _, plan, err := a.loginPlan(); err == nil {
				if _, err := login.Uninstall(cmd.Context(), plan); err != nil {
					a.note("%s", describe(err)) // its files are gone all the same, so it starts nothing
				}
			}
			if err := daemon.Remove(cmd.Context(), cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Stdout, "Instance %q is deleted\n", inst.Name)
			return err
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", stopTimeout, "how long to wait before the control plane is ended by force; 0 means without limit")
	return cmd
}

// driverConfig is what it takes to reach the VMs of an instance without its daemon.
func (a *app) driverConfig(inst instance.Instance) (daemon.Config, error) {
	level, err := logging.ParseLevel(a.logLevel)
	if err != nil {
		return daemon.Config{}, usage(err)
	}
	return daemon.Config{
		Instance: inst, Version: a.Version, Executable: a.Executable, Agents: a.Agents,
		Environ: with(a.Environ, "LIMA_HOME", inst.LimaHome()),
		Log:     logging.New(a.Stderr, level),
	}, nil
}
