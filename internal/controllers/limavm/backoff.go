package limavm

import (
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
)

const (
	shortestPause = time.Second
	longestPause  = 5 * time.Minute
)

// pause is how long to wait after a failure before the next attempt. A VM that ran, and died for the first time, is started
// again at once: only what fails repeatedly, or never worked, has to wait.
func pause(failure *vm.Failure) time.Duration {
	doublings := failure.Count - 1
	if failure.During == vm.OpRun {
		doublings--
	}
	if doublings < 0 {
		return 0
	}
	result := shortestPause
	for range doublings {
		if result *= 2; result >= longestPause {
			return longestPause
		}
	}
	return result
}

// heldUntil is when the pause after the last failure is over; the zero time without a failure.
func heldUntil(failure *vm.Failure) time.Time {
	if failure == nil {
		return time.Time{}
	}
	return failure.At.Add(pause(failure))
}

// held tells whether the pause after the last failure is still going on. One that would be longer than the longest is of a clock
// that has been set back since, and holds nobody.
func held(failure *vm.Failure, now time.Time) bool {
	if failure == nil || pause(failure) == 0 {
		return false
	}
	left := heldUntil(failure).Sub(now)
	return left > 0 && left <= longestPause
}
