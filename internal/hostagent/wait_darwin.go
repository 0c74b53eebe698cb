package hostagent

import (
	_ "github.com/lima-vm/lima/v2/pkg/driver/vz" // registers itself
	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/process"
)

// waitVM runs the VM until it is down. macOS wants windows on the main thread, to which cmd/rdd has locked the main goroutine, that
// of the caller: so it cannot be left to another goroutine and given up on. Where the agent gives up, it ends itself instead: a VM
// of Virtualization.framework is a part of it and ends with it, all else that it had started is dead by then, and the daemon, or
// the next one, removes what is left.
func waitVM(run func() error, gaveUp <-chan struct{}) error {
	down := make(chan struct{})
	defer close(down)
	go func() {
		select {
		case <-gaveUp:
			if err := process.KillSelf(); err != nil {
				logrus.WithError(err).Error("cannot end the VM") // the daemon ends an agent that hangs
			}
		case <-down:
		}
	}()
	return run()
}
