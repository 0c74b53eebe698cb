//go:build linux || darwin

package process

import (
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
