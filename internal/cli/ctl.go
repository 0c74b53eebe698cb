package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"
)

func (a *app) ctlCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "ctl …", Short: "kubectl for this control plane, which is started when it is not running", DisableFlagParsing: true,
		Long: "kubectl for this control plane, which is started when it is not running. KUBECONFIG and ~/.kube/config are ignored.",
		Example: "  rdd ctl get limavm\n" +
			"  rdd ctl wait limavm/dev --for=condition=Running --timeout=5m",
		RunE: func(cmd *cobra.Command, args []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			if err := a.ensure(cmd.Context(), inst); err != nil {
				return err
			}
			// kubectl's own subcommands and plugins read these, too.
			err = setenv(map[string]string{
				"KUBECONFIG":   inst.Kubeconfig(),
				"KUBECACHEDIR": filepath.Join(inst.CacheDir(), "kubectl"),
			})
			if err != nil {
				return err
			}
			return a.kubectl(args)
		},
	}
	command.AddCommand(a.waitConditionCommand())
	return command
}
