package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/instance"
)

func (a *app) copyCommand() *cobra.Command {
	var recursive bool
	cmd := &cobra.Command{
		Use: "cp SOURCE… TARGET", Short: "Copy files into a VM or out of it", Aliases: []string{"copy"},
		Long: "Copy files into a VM or out of it. A path in a VM is NAME:PATH; without a leading slash, it is below the home directory.\n" +
			"A file of this computer with a colon in its name is ./NAME.",
		Example: "  rdd limavm cp notes.txt dev:\n  rdd limavm cp -r dev:/var/log ./logs",
		Args: func(_ *cobra.Command, args []string) error {
			_, _, err := copyArgs(instance.Instance{}, args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			name, operands, err := copyArgs(inst, args)
			if err != nil {
				return usage(err)
			}
			for _, source := range args[:len(args)-1] {
				if info, err := os.Stat(source); err == nil && info.IsDir() && !recursive {
					return usagef("%s is a directory: say -r to copy it with all that is in it", source)
				}
			}
			config, err := a.sshConfigOf(cmd.Context(), name, "copy")
			if err != nil {
				return err
			}
			arguments := []string{"-F", config}
			if recursive {
				arguments = append(arguments, "-r")
			}
			if a.quiet {
				arguments = append(arguments, "-q")
			}
			return a.becomeSSH("scp", append(append(arguments, "--"), operands...))
		},
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "directories, too, with all that is in them")
	return cmd
}

// copyArgs tells the one VM that a copy is about, and the operands as scp wants them.
func copyArgs(inst instance.Instance, args []string) (name string, operands []string, err error) {
	if len(args) < 2 {
		return "", nil, errors.New("a source and a target were expected")
	}
	inVM := make([]bool, len(args))
	for i, arg := range args {
		vm, path, remote := remotePath(arg)
		if !remote {
			operands = append(operands, arg)
			continue
		}
		if name != "" && name != vm {
			return "", nil, fmt.Errorf("the VMs %q and %q are two: copy by way of this computer", name, vm)
		}
		name, inVM[i] = vm, true
		operands = append(operands, inst.SSHHost(vm)+":"+path)
	}
	last := len(args) - 1
	for i := range last {
		switch {
		case inVM[i] && inVM[last]:
			return "", nil, fmt.Errorf("%s and %s are both in VM %q: use \"rdd limavm shell %s -- cp\"", args[i], args[last], name, name)
		case !inVM[i] && !inVM[last]:
			return "", nil, fmt.Errorf("neither %s nor %s is in a VM: say NAME:PATH, or \"NAME:\" for the home directory%s", args[i], args[last], hint(args))
		}
	}
	return name, operands, nil
}

// hint is about a colon that was forgotten.
func hint(args []string) string {
	for _, arg := range []string{args[len(args)-1], args[0]} {
		if objectName.MatchString(arg) && filepath.Ext(arg) == "" {
			return fmt.Sprintf("; did you mean \"%s:\"?", arg)
		}
	}
	return ""
}

// remotePath takes NAME:PATH apart. A slash before the colon, or a drive, makes it a path of this computer.
func remotePath(arg string) (name, path string, ok bool) {
	name, path, ok = strings.Cut(arg, ":")
	if !ok || name == "" || strings.ContainsAny(name, `/\`) || filepath.VolumeName(arg) != "" {
		return "", "", false
	}
	return name, path, true
}
