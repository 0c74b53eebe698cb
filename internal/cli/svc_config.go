package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) svcConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Print the kubeconfig for this control plane, which is started when it is not running", Args: cobra.NoArgs,
		Example: "  rdd svc config > ~/.kube/rdd",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			if err := a.ensure(cmd.Context(), inst); err != nil {
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
}
