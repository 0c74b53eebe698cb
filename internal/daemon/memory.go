package daemon

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// gcPercent lets the heap grow by half between collections, not double. Unlike a limit, it cannot make the collector run
	// all the time when there is more to keep.
	gcPercent = 50
	// settleTime is how long after it became ready a daemon has taken its VMs over, and served the clients that waited for it.
	settleTime = 10 * time.Second
)

// saveMemory keeps a daemon small that has settled, and gives back what its start has needed. Until then somebody waits for it, and
// the collector has the patience that package collector gave it.
func saveMemory(ctx context.Context) {
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
