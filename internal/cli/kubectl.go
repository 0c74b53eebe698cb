package cli

import (
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	componentcli "k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	_ "github.com/seed-192657fa/rdd/internal/cli/translations" // before kubectl's packages are initialised
	"github.com/seed-192657fa/rdd/internal/late"
)

func (a *app) kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl …", Short: "Plain kubectl, for any cluster", DisableFlagParsing: true,
		Example: "  rdd kubectl version --client",
		RunE:    func(_ *cobra.Command, args []string) error { return a.kubectl(args) },
	}
}

// kubectl runs kubectl inside this process. It prints its own errors, and ends the process by itself where it fails.
func (a *app) kubectl(args []string) error {
	late.Release()
	// kubectl expects what every program does by default: an interrupt ends it.
	signal.Reset()
	arguments := append([]string{"kubectl"}, args...)
	if verbosity := cmd.GetLogVerbosity(arguments); verbosity != "0" {
		if _, err := logs.GlogSetter(verbosity); err != nil {
			return usage(err)
		}
	}
	streams := genericiooptions.IOStreams{In: a.Stdin, Out: a.Stdout, ErrOut: a.Stderr}
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().
		WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams)
	command := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     arguments, ConfigFlags: flags, IOStreams: streams,
	})
	command.SetArgs(args)
	command.SetIn(a.Stdin)
	command.SetOut(a.Stdout)
	command.SetErr(a.Stderr)
	if err := componentcli.RunNoErrOutput(command); err != nil {
		cmdutil.BehaviorOnFatal(func(message string, code int) {
			if message != "" {
				_, _ = io.WriteString(a.Stderr, message+"\n")
			}
			err = &statusError{code: code}
		})
		cmdutil.CheckErr(err)
		return err
	}
	return nil
}

// setenv changes the environment of this process, for libraries that read it.
func setenv(pairs map[string]string) error {
	for key, value := range pairs {
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	return nil
}
