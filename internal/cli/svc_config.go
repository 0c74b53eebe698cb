package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
)

func (a *app) svcConfigCommand() *cobra.Command {
	var rotate bool
	cmd := &cobra.Command{
		Use: "config", Short: "Print the kubeconfig for this control plane, which is started when it is not running", Args: cobra.NoArgs,
		Long: "Print the kubeconfig for this control plane, which is started when it is not running.\n\n" +
			"--rotate makes all keys, certificates and tokens anew first, and restarts the control plane for that, with the VMs left\n" +
			"running. Every kubeconfig and every token that was given out before is refused from then on.",
		Example: "  rdd svc config > ~/.kube/rdd\n  rdd svc config --rotate > ~/.kube/rdd",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			if rotate {
				err = a.rotate(cmd.Context(), inst)
			} else {
				err = a.ensure(cmd.Context(), inst)
			}
			if err != nil {
				return err
			}
			content, err := os.ReadFile(inst.Kubeconfig())
			if err != nil {
				return fmt.Errorf("cannot read the kubeconfig: %w", err)
			}
			_, err = a.Stdout.Write(content)
			return err
		},
	}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "make all credentials anew; the old ones are refused")
	return cmd
}

// rotate replaces the daemon by one with other credentials.
func (a *app) rotate(ctx context.Context, inst instance.Instance) error {
	ctx, cancel := context.WithTimeout(ctx, handoverTimeout+startTimeout)
	defer cancel()
	if err := daemon.MakeDirs(inst); err != nil {
		return err
	}
	_, err := a.handOver(ctx, inst, nil, true, func() error { return daemon.Rotate(inst) })
	return err
}
