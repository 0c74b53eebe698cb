package hostagent

import (
	"runtime"

	_ "github.com/lima-vm/lima/v2/pkg/driver/vz" // registers itself
)

// waitVM runs the VM until it is down. macOS wants windows on the main thread, so it cannot be left to a goroutine and given
// up on; the daemon ends an agent that hangs here.
func waitVM(run func() error, _ <-chan struct{}) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return run()
}
