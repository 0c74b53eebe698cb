// Package cli owns the command line: what users type, what they read, and the exit codes that scripts rely on. It alone reads
// the environment. Everything it does to VMs goes through the API; everything it does to the daemon, through daemon's
// Launch, Find and Stop.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/logging"
)

// Config is what the process was started with.
type Config struct {
	// Args are those of the process, its name first.
	Args []string
	// Environ is the environment, "KEY=value" each.
	Environ        []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Executable is the path of this program, for the processes that it starts.
	Executable string
	// Agents is the program that has the commands of internal/hostagent; empty means Executable.
	Agents  string
	Version string
	// Extra commands, mounted as they are: the hidden ones that are child processes of the daemon.
	Extra []*cobra.Command
}

// app is one run of the program.
type app struct {
	Config
	env          environment
	instanceName string
	logLevel     string
	quiet        bool
	// parsed: the command line made sense, so that an error is no longer one of usage.
	parsed bool
}

// Main runs the command that cfg.Args ask for, and returns the exit code.
func Main(ctx context.Context, cfg Config) int {
	cfg.Environ = settle(cfg.Environ)
	a := &app{Config: cfg, env: parseEnvironment(cfg.Environ)}
	err := a.run(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted before it was known what became of it; \"rdd limavm list\" and \"rdd svc status\" show")
	}
	err = a.plainly(err)
	if message := describe(err); message != "" {
		fmt.Fprintln(cfg.Stderr, "Error: "+message)
	}
	if code := exitCode(err); code != exitFailed || ctx.Err() == nil || is[*statusError](err) || is[*daemon.AskedError](err) {
		return code
	}
	return exitInterrupted
}

// Commands returns the tree of commands for those who describe it; it is not for running.
func Commands() *cobra.Command { return (&app{}).root() }

func (a *app) run(ctx context.Context) error {
	args := a.Args[1:]
	name := strings.TrimSuffix(filepath.Base(a.Args[0]), ".exe")
	if name == "kubectl" {
		return a.kubectl(args)
	}
	args, err := a.takeGlobals(args)
	if err != nil {
		return usage(err)
	}
	root := a.root()
	strict(root)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !a.parsed {
		return usagef("%w; see \"%s --help\"", err, command.CommandPath())
	}
	return err
}

// takeGlobals takes the flags that come right after the program's name, ahead of commands like ctl whose flags are not ours.
func (a *app) takeGlobals(args []string) ([]string, error) {
	if last := len(args) - 1; last > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		rest, err := a.takeGlobals(args[1:last])
		if err != nil {
			return args, nil //nolint:nilerr // a value is being typed
		}
		return append(append(args[:1:1], rest...), args[last]), nil
	}
	a.instanceName, a.logLevel = a.env.instance, a.env.logLevel
	globals := map[string]*string{"--instance": &a.instanceName, "--log-level": &a.logLevel}
	for len(args) > 0 {
		flag, value, joined := strings.Cut(args[0], "=")
		target, ok := globals[flag]
		if !ok {
			break
		}
		args = args[1:]
		if !joined {
			if len(args) == 0 {
				return nil, fmt.Errorf("flag %s needs a value", flag)
			}
			value, args = args[0], args[1:]
		}
		*target = value
	}
	_, err := logging.ParseLevel(a.logLevel)
	return args, err
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "rdd [--instance=NAME] [--log-level=LEVEL]",
		Short: "Local virtual machines under a Kubernetes-style control plane",
		Long: "Local virtual machines under a Kubernetes-style control plane.\n\n" +
			"\"rdd up\" gets you a VM; \"rdd limavm shell\" gets you into it; \"rdd ctl\" is kubectl for it.",
		SilenceErrors: true, SilenceUsage: true, Version: a.Version,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.parsed = true
			a.plainWarnings()
		},
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "print nothing but results and errors")
	// Parsed by takeGlobals; here for --help and completion only.
	root.Flags().String("instance", "", "the rdd instance to talk to (default $RDD_INSTANCE, or \""+instance.DefaultName+"\"); right after \"rdd\"")
	root.Flags().String("log-level", "", "fatal, error, warn, info, debug or trace (default $RDD_LOG_LEVEL, or warn); right after \"rdd\"")
	root.Flags().Bool("version", false, "print the version of rdd")
	root.SetVersionTemplate("rdd {{.Version}}\n")
	root.SetFlagErrorFunc(misplaced)
	root.AddGroup(&cobra.Group{ID: "vm", Title: "Virtual machines:"}, &cobra.Group{ID: "service", Title: "Control plane:"})
	add(root, "vm", a.upCommand(), a.downCommand(), a.limavmCommand())
	add(root, "service", a.svcCommand(), a.controllersCommand(), a.ctlCommand(), a.kubectlCommand())
	root.AddCommand(a.doctorCommand(), a.supportBundleCommand(), a.versionCommand())
	root.AddCommand(a.Extra...)
	return root
}

func add(parent *cobra.Command, group string, commands ...*cobra.Command) {
	for _, command := range commands {
		command.GroupID = group
	}
	parent.AddCommand(commands...)
}

// instance is the one that this run is about. Only commands that need one fail for a bad name.
func (a *app) instance() (instance.Instance, error) {
	inst, err := instance.New(a.instanceName, a.env.directories)
	if err != nil {
		return inst, usage(err)
	}
	return inst, nil
}

// note tells the user something that is not a result.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.Stderr, format+"\n", args...)
	}
}

// isFile tells the file behind a stream, if there is one.
func isFile(stream any) (*os.File, bool) {
	file, ok := stream.(*os.File)
	return file, ok
}
