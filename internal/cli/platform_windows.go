package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// windowsHome: the home directory is USERPROFILE, whatever HOME says. An MSYS2 shell sets HOME to a path of its own.
const windowsHome = true

// become runs another program in place of this one: with our console, and its exit status as ours.
func become(path string, args, environ []string) error {
	command := &exec.Cmd{Path: path, Args: args, Env: environ, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	err := command.Run()
	var status *exec.ExitError
	if errors.As(err, &status) {
		return &statusError{code: status.ExitCode()}
	}
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", path, err)
	}
	return nil
}
