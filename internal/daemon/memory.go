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
	// settleTime is how long after it became ready a daemon has stopped doing what only a start needs.
	settleTime = 10 * time.Second
)

// saveMemory keeps an idle daemon small: what its start has needed is given back once it is ready, and again
// when the clients that waited for it have been served.
func saveMemory(ctx context.Context) {
	debug.SetGCPercent(gcPercent)
	debug.FreeOSMemory()
	go func() {
		timer := time.NewTimer(settleTime)
		defer timer.Stop()
		select {
		case <-timer.C:
			debug.FreeOSMemory()
		case <-ctx.Done():
		}
	}()
}
