package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// group makes a command that only holds others.
func group(use, short string, aliases []string, commands ...*cobra.Command) *cobra.Command {
	command := &cobra.Command{Use: use, Short: short, Aliases: aliases, RunE: needsCommand}
	command.AddCommand(commands...)
	return command
}

// needsCommand shows the commands that there are where none, or another, was given.
func needsCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q for %q; see \"%s --help\"", args[0], cmd.CommandPath(), cmd.CommandPath())
	}
	cmd.SetOut(cmd.ErrOrStderr()) // no result
	return usage(errors.Join(cmd.Help(), errors.New("a command is missing")))
}

// strict has cobra's own commands refuse what they do not know; they print a help instead, as if all were well.
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, command := range root.Commands() {
		switch command.Name() {
		case "help":
			command.Args = func(_ *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err == nil && len(rest) > 0 && !found.DisableFlagParsing {
					err = fmt.Errorf("unknown command %q for %q", rest[0], found.CommandPath())
				}
				return err
			}
		case "completion":
			command.RunE = needsCommand
		}
	}
}

// misplaced tells where the flags belong that takeGlobals takes.
func misplaced(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && cmd.Root().Flags().Lookup(unknown.GetSpecifiedName()) != nil {
		return fmt.Errorf("--%s goes right after \"%s\"", unknown.GetSpecifiedName(), cmd.Root().Name())
	}
	return err
}
