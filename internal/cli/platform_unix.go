//go:build unix

package cli

import (
	"fmt"
	"os"
	"syscall"
)

// windowsHome: the home directory is USERPROFILE, whatever HOME says.
const windowsHome = false

// become replaces this process by another program, which so gets the terminal and all signals, and gives its exit status to
// whoever waits for ours. It returns only if that fails.
func become(path string, args, environ []string) error {
	if err := syscall.Exec(path, args, environ); err != nil {
		return fmt.Errorf("cannot run %s: %w", path, &os.PathError{Op: "exec", Path: path, Err: err})
	}
	return nil
}
