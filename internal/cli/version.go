package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	var f *format
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version of rdd", Args: cobra.NoArgs,
		Example: "  rdd version\n  rdd version -o json",
		RunE: func(*cobra.Command, []string) error {
			if f.output != "text" {
				return f.data(a.Stdout, map[string]string{"version": a.Version})
			}
			_, err := fmt.Fprintln(a.Stdout, "rdd "+a.Version)
			return err
		},
	}
	f = formatFlags(cmd, "text", "json", "yaml")
	return cmd
}
