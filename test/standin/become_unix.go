//go:build unix

package main

import (
	"fmt"
	"syscall"
)

// become replaces this program by another, in the same process.
func become(program string, args, environ []string) error {
	err := syscall.Exec(program, append([]string{program}, args...), environ)
	return fmt.Errorf("cannot become %s: %w", program, err)
}
