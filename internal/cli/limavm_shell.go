package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// remote is what is run in a guest.
type remote struct {
	command []string // none means an interactive shell
	workdir string
	env     []string // KEY=VALUE each
}

func (a *app) shellCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "shell NAME [flags] [--] [COMMAND…]", Short: "Enter a VM, or run a command in it and pass its exit status on",
		Long: "Enter a VM, or run a command in it and pass its exit status on. From the first word of the command on, flags are the command's.",
		Example: "  rdd limavm shell dev\n  rdd limavm shell dev -- uname -a\n" +
			"  rdd limavm shell dev --workdir /tmp --env LANG=C -- ls -l",
		Args:              func(_ *cobra.Command, args []string) error { return names(nil, args[:min(1, len(args))]) },
		ValidArgsFunction: a.completeShell,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if r.command, err = afterFlags(cmd, args[1:]); err != nil {
				return err
			}
			if help, _ := cmd.Flags().GetBool("help"); help {
				return cmd.Help()
			}
			inst, err := a.instance()
			if err != nil {
				return err
			}
			if r.env, err = a.shellEnv(r.env); err != nil {
				return usage(err)
			}
			config, err := a.sshConfigOf(cmd.Context(), args[0], "enter")
			if err != nil {
				return err
			}
			arguments := []string{"-F", config, "-o", "LogLevel=ERROR"}
			if a.isTerminal(a.Stdin) && a.isTerminal(a.Stdout) {
				arguments = append(arguments, "-t")
			}
			return a.becomeSSH("ssh", append(append(arguments, inst.SSHHost(args[0])), r.line()...))
		},
	}
	cmd.Flags().StringVar(&r.workdir, "workdir", "", "directory in the guest to run in (default: the home directory)")
	cmd.Flags().StringArrayVarP(&r.env, "env", "e", nil, "environment variable: KEY=VALUE, or KEY for its value here; may be repeated")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// afterFlags takes our flags from between the name of a VM and the command, whose own flags are not ours.
func afterFlags(cmd *cobra.Command, args []string) ([]string, error) {
	if err := cmd.Flags().Parse(args); err != nil {
		return nil, usagef("%w; see \"%s --help\"", err, cmd.CommandPath())
	}
	return cmd.Flags().Args(), nil
}

// completeShell completes the name of a VM, and our flags behind it.
func (a *app) completeShell(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 || !strings.HasPrefix(toComplete, "-") {
		return a.completeVMs(1)(cmd, args, toComplete)
	}
	var found []string
	if command, err := afterFlags(cmd, args[1:]); err == nil && len(command) == 0 {
		for _, name := range []string{"env", "workdir", "help"} {
			found = append(found, cobra.CompletionWithDesc("--"+name, cmd.Flags().Lookup(name).Usage))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// sshConfigOf is the ssh configuration of a VM that runs. It says plainly when it does not.
func (a *app) sshConfigOf(ctx context.Context, name, doing string) (string, error) {
	api, inst, err := a.client(ctx)
	if err != nil {
		return "", err
	}
	vm, err := findVM(ctx, api, name)
	if err != nil {
		return "", err
	}
	if !meta.IsStatusConditionTrue(vm.Status.Conditions, v1alpha1.ConditionRunning) {
		return "", fmt.Errorf("VM %q is not running (%s); \"rdd limavm start %s\" starts it", name, phaseOf(vm), name)
	}
	dir := inst.VMDir(name)
	if vm.Status.Instance != nil && vm.Status.Instance.Directory != "" {
		dir = vm.Status.Instance.Directory
	}
	config := filepath.Join(dir, "ssh.config")
	if _, err := os.Stat(config); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot %s VM %q: %s is missing; \"rdd limavm restart %s\" makes it again", doing, name, config, name)
	}
	return config, nil
}

// becomeSSH becomes a program of OpenSSH, so that the terminal, signals and the exit status are its.
func (a *app) becomeSSH(program string, args []string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("there is no %s in PATH; install an OpenSSH client: %w", program, err)
	}
	return become(path, append([]string{path}, args...), a.Environ)
}

// shellEnv completes variables without a value by their value here.
func (a *app) shellEnv(pairs []string) ([]string, error) {
	var result []string
	for _, pair := range pairs {
		name, _, complete := strings.Cut(pair, "=")
		if name == "" || strings.ContainsAny(name, " \t\n'\"$;") {
			return nil, fmt.Errorf("%q is no environment variable: KEY=VALUE was expected", pair)
		}
		if complete {
			result = append(result, pair)
			continue
		}
		for _, ours := range a.Environ {
			if strings.HasPrefix(ours, name+"=") {
				result = append(result, ours)
			}
		}
	}
	return result, nil
}

// line is what the guest's shell is given. Words stay as they are, whatever they contain; nothing means a login shell.
func (r remote) line() []string {
	if len(r.command) == 0 && r.workdir == "" && len(r.env) == 0 {
		return nil
	}
	line := "exec "
	if r.workdir != "" {
		line = "cd " + quote(r.workdir) + " && exec "
	}
	if len(r.env) > 0 {
		line += "env " + quoteAll(r.env) + " "
	}
	line += `"$SHELL" -l`
	if len(r.command) > 0 {
		line += " -c " + quote(quoteAll(r.command))
	}
	return []string{line}
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
