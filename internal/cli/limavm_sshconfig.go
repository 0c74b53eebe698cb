package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) sshConfigCommand() *cobra.Command {
	var f *format
	cmd := &cobra.Command{
		Use: "ssh-config NAME", Short: "Print what ssh needs to enter a running VM as \"lima-NAME\"", Args: oneName,
		Example:           "  rdd limavm ssh-config dev\n  rdd limavm ssh-config dev -o path",
		ValidArgsFunction: a.completeVMs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.sshConfigOf(cmd.Context(), args[0], "enter")
			if err != nil {
				return err
			}
			if f.output == "path" {
				_, err = fmt.Fprintln(a.Stdout, path)
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("cannot read the ssh configuration of VM %q: %w", args[0], err)
			}
			_, err = a.Stdout.Write(content)
			return err
		},
	}
	f = formatFlags(cmd, "config", "path")
	return cmd
}
