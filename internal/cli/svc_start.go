package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) svcStartCommand() *cobra.Command {
	var w *waiting
	cmd := &cobra.Command{
		Use: "start", Short: "Start the control plane in the background and wait until it is ready", Args: cobra.NoArgs,
		Long: "Start the control plane in the background and wait until it is ready. The flags hold for this session only;\n" +
			"\"rdd svc create\" saves them.",
		Example: "  rdd svc start",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			wanted, err := a.settings(cmd, inst)
			if err != nil {
				return err
			}
			ctx, cancel := w.context(cmd.Context())
			defer cancel()
			flags := sessionFlags(cmd)
			record, launched, err := a.launch(ctx, inst, flags, w.wait)
			if err != nil {
				return err
			}
			if record == nil {
				_, err = fmt.Fprintf(a.Stdout, "The control plane of instance %q is starting\n", inst.Name)
				return err
			}
			state := "runs already"
			if launched {
				state = "is ready"
			} else if notice := a.outdated(record); notice != "" {
				a.note("%s", notice)
			}
			if inForce, err := a.settingsInForce(inst); !launched && err == nil && inForce != wanted && len(flags) > 0 {
				a.note("Not in effect: %s; \"rdd svc restart\" with the same flags starts it anew with them, and leaves the VMs running", strings.Join(flags, " "))
			}
			_, err = fmt.Fprintf(a.Stdout, "The control plane of instance %q %s: https://%s, PID %d\n", inst.Name, state, record.Address, record.PID)
			return err
		},
	}
	settingsFlags(cmd)
	w = waitFlags(cmd, startTimeout)
	return cmd
}
