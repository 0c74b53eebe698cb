package cli

import (
	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
)

func (a *app) downCommand() *cobra.Command {
	var all bool
	var w *waiting
	var s *stopping
	cmd := &cobra.Command{
		Use: "down [NAME]", Short: "Shut a VM down; the control plane stays",
		Example: "  rdd down\n  rdd down --all",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usagef("either a name or --all, not both")
			}
			inst, err := a.instance()
			if err != nil {
				return err
			}
			record, err := daemon.Find(inst)
			if err != nil {
				return err
			}
			if all && record == nil {
				if err := a.stopLeftVMs(cmd.Context(), inst, daemon.Stopping{}); err != nil {
					return err
				}
				a.note("The control plane is not running, and no VM either.")
				return nil
			}
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			wanted := append(args, defaultVM)[:1]
			if all {
				var list v1alpha1.LimaVMList
				if err := api.List(cmd.Context(), &list); err != nil {
					return err
				}
				wanted = nil
				for i := range list.Items {
					wanted = append(wanted, list.Items[i].Name)
				}
			}
			return each(wanted, func(name string) error { return a.stop(cmd.Context(), api, name, s, w) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all VMs of all namespaces")
	s, w = stopFlags(cmd), waitFlags(cmd, vmTimeout)
	cmd.ValidArgsFunction = a.completeVMs(1)
	return cmd
}
