//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// become replaces this program by another, in the same process.
func become(program string, args []string) error {
	err := syscall.Exec(program, append([]string{program}, args...), os.Environ())
	return fmt.Errorf("cannot become %s: %w", program, err)
}
