package cli

import (
	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
)

func (a *app) controllersCommand() *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "controllers", Short: "Run a group of controllers outside the control plane, in the foreground", Args: cobra.NoArgs,
		Long: "Run a group of controllers outside the control plane, in the foreground. The control plane must leave them out:\n" +
			"\"rdd svc create --controllers=-lima\". They end when it does, or when interrupted; VMs go on in either case, for\n" +
			"whoever runs the controllers next. \"rdd svc stop\" has them shut the VMs down first.",
		Example: "  rdd --log-level=info controllers --group lima",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if group == "" {
				return usagef("--group is missing; see \"rdd controllers --help\"")
			}
			if err := daemon.CheckGroup(group); err != nil {
				return usage(err)
			}
			inst, err := a.instance()
			if err != nil {
				return err
			}
			config, err := a.driverConfig(inst)
			if err != nil {
				return err
			}
			if err := a.ensure(cmd.Context(), inst); err != nil {
				return err
			}
			if err := setenv(map[string]string{"LIMA_HOME": inst.LimaHome()}); err != nil {
				return err
			}
			return daemon.RunControllers(cmd.Context(), config)
		},
	}
	cmd.Flags().StringVar(&group, "group", "", "the group of controllers to run: lima")
	return cmd
}
