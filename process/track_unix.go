//go:build linux || darwin

package process

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// childEnds sends soon after a child has ended.
func childEnds() (<-chan os.Signal, func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	return ended, func() { signal.Stop(ended) }
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
