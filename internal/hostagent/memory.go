package hostagent

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// gcPercent trades a little time for memory: an agent does little and lives long, one for each VM.
	gcPercent = 25
	// bootLimit bounds the memory of an agent whose VM boots.
	bootLimit = 160 << 20
)

// saveMemory continues what the daemon began with the agent's environment: the packages that are linked in allocate most of
// what an agent lives with before main runs, and one processor and an eager collector pack it more tightly.
func saveMemory() {
	runtime.SetDefaultGOMAXPROCS()
	debug.SetGCPercent(gcPercent)
}

// keepGarbage holds the collector off while Lima connects to the guest agent. Each try takes buffers of 8 MiB, of which it
// uses little, and one of them stays. Memory that is used for the first time costs nothing until it is touched, but
// collected memory is cleared, and so touched, when it is used again.
func keepGarbage() {
	debug.SetMemoryLimit(bootLimit)
	debug.SetGCPercent(-1)
}

// settle gives back what only the boot needed, at these times after the start of the VM.
func settle(ctx context.Context) {
	begin := time.Now()
	for _, after := range []time.Duration{time.Second, time.Minute, 10 * time.Minute} {
		timer := time.NewTimer(time.Until(begin.Add(after)))
		select {
		case <-timer.C:
			debug.SetGCPercent(gcPercent)
			debug.SetMemoryLimit(math.MaxInt64)
			debug.FreeOSMemory()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
