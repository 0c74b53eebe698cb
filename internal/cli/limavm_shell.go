package cli

import (
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
	"github.com/seed-192657fa/rdd/internal/instance"
)

func (a *app) shellCommand() *cobra.Command {
	return &cobra.Command{
		Use: "shell NAME [-- COMMAND…]", Short: "Enter a VM, or run a command in it and pass its exit status on",
		Example: "  rdd limavm shell dev\n  rdd limavm shell dev -- uname -a",
		Args:    func(cmd *cobra.Command, args []string) error { return names(cmd, args[:min(1, len(args))]) },
		RunE: func(cmd *cobra.Command, args []string) error {
			api, inst, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			vm, err := findVM(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			if !meta.IsStatusConditionTrue(vm.Status.Conditions, v1alpha1.ConditionRunning) {
				return fmt.Errorf("VM %q is not running (%s); \"rdd limavm start %s\" starts it", vm.Name, phaseOf(vm), vm.Name)
			}
			return a.shell(inst, vm, args[1:])
		},
	}
}

// shell becomes ssh, so that the terminal, signals and the exit status are its.
func (a *app) shell(inst instance.Instance, vm *v1alpha1.LimaVM, command []string) error {
	dir := inst.VMDir(vm.Name)
	if vm.Status.Instance != nil && vm.Status.Instance.Directory != "" {
		dir = vm.Status.Instance.Directory
	}
	config := filepath.Join(dir, "ssh.config")
	if _, err := os.Stat(config); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot enter VM %q: %s is missing; \"rdd limavm stop %s\" and \"start\" make it again", vm.Name, config, vm.Name)
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return fmt.Errorf("cannot enter VM %q: there is no ssh in PATH; install an OpenSSH client: %w", vm.Name, err)
	}
	args := []string{ssh, "-F", config, "-q"}
	if a.isTerminal(a.Stdin) && a.isTerminal(a.Stdout) {
		args = append(args, "-t")
	}
	args = append(args, "lima-"+vm.Name)
	return become(ssh, append(args, remoteCommand(command)...), a.Environ)
}

// remoteCommand runs words as they are in a login shell of the guest, whatever they contain; none means an interactive one.
func remoteCommand(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return []string{`exec "$SHELL" -l -c ` + quote(strings.Join(quoted, " "))}
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
