package daemon

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// hastyPercent lets the heap grow to five times its size while somebody waits for VMs to be taken over.
	hastyPercent = 400
	// gcPercent lets the heap grow by half between collections, not double. Unlike a limit, it cannot make the collector run
	// all the time when there is more to keep.
	gcPercent = 50
	// settleTime is how long after it became ready a daemon has taken its VMs over, and served the clients that waited for it.
	settleTime = 10 * time.Second
)

// saveMemory is called when the daemon is ready. It keeps the daemon small once it has settled.
func saveMemory(ctx context.Context) {
	debug.SetGCPercent(hastyPercent)
	go func() {
		timer := time.NewTimer(settleTime)
		defer timer.Stop()
		select {
		case <-timer.C:
			debug.SetGCPercent(gcPercent)
			debug.FreeOSMemory()
		case <-ctx.Done():
		}
	}()
}
