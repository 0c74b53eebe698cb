package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
)

func (a *app) svcCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Make the directories and save the settings; starts nothing", Args: cobra.NoArgs,
		Example: "  rdd svc create --secure-port 7443",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			settings, err := a.settings(cmd, inst)
			if err != nil {
				return err
			}
			if err := daemon.MakeDirs(inst); err != nil {
				return err
			}
			if err := daemon.SaveSettings(inst, settings); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Stdout, "Instance %q is set up in %s\n", inst.Name, inst.Dir)
			return err
		},
	}
	settingsFlags(cmd)
	return cmd
}
