package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

const (
	// killWait bounds the wait for the end of a process that was killed.
	killWait = 10 * time.Second
	// stopMargin is what a daemon gets on top of the time by which it said that it would have ended.
	stopMargin = 5 * time.Second
)

// ErrForced says that a daemon had to be ended by force.
var ErrForced = errors.New("ended by force")

// Stopping says how to end a daemon.
type Stopping struct {
	// Timeout is when it is ended by force; 0 means never.
	Timeout time.Duration
	// Patient waits longer than Timeout where the daemon says that its VMs may need longer.
	Patient bool
	// KeepVMs leaves the VMs to the next daemon.
	KeepVMs bool
}

// Stop asks the daemon of an instance to end, which it does after its VMs have, and waits. At the timeout it is ended by
// force; the error then wraps ErrForced and context.DeadlineExceeded, and its VMs are left to the next daemon. When ctx ends
// first, the daemon goes on stopping. What the daemon could not stop is an error, too, although it has ended: a *FailedError. It
// returns false when there was no daemon to stop the VMs: none at all, one that was already leaving them to the next, or one that
// died before it was done.
func Stop(ctx context.Context, inst instance.Instance, how Stopping) (was bool, err error) {
	record, err := readRecord(inst)
	if err != nil || record == nil {
		return false, err
	}
	handle, err := process.Open(record.Identity)
	if errors.Is(err, process.ErrGone) {
		return false, forgetDead(inst)
	}
	if err != nil {
		return false, fmt.Errorf("cannot stop the daemon with PID %d: %w", record.PID, err)
	}
	defer handle.Close()
	switch {
	case record.Stopping == nil:
		if err := askToEnd(inst, handle, how); err != nil {
			return true, err
		}
	case how.KeepVMs && !record.KeepVMs:
		return true, fmt.Errorf("the daemon with PID %d is already shutting its VMs down", record.PID)
	}
	was = how.KeepVMs || !record.KeepVMs
	if err := awaitStop(ctx, inst, handle, how); errors.Is(err, ErrForced) {
		return was, errors.Join(err, forgetDead(inst))
	} else if err != nil {
		return was, err
	}
	record, err = readRecord(inst)
	switch {
	case err != nil:
		return was, err
	case record == nil || record.Identity != handle.Identity(): // it ended as it should, and another may have begun
		return was, nil
	case record.Failure != "":
		return was, errors.Join(&FailedError{record.PID, record.Failure}, forgetDead(inst))
	default:
		return false, forgetDead(inst)
	}
}

// FailedError is what a daemon could not do that has ended.
type FailedError struct {
	PID     int
	Failure string
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("the daemon with PID %d has ended, and failed in that: %s", e.PID, e.Failure)
}

// askToEnd asks once: whoever is asked a second time by a signal ends at once, as people expect in the foreground.
func askToEnd(inst instance.Instance, handle *process.Handle, how Stopping) error {
	pid := handle.Identity().PID
	asking := ask(inst, request{Daemon: handle.Identity(), KeepVMs: how.KeepVMs})
	if asking != nil && how.KeepVMs {
		return asking // a signal alone would shut the VMs down
	}
	if err := handle.Interrupt(); err != nil && asking != nil && !errors.Is(err, process.ErrGone) {
		return fmt.Errorf("cannot ask the daemon with PID %d to end: %w", pid, errors.Join(err, asking))
	}
	return nil
}

func awaitStop(ctx context.Context, inst instance.Instance, handle *process.Handle, how Stopping) error {
	pid := handle.Identity().PID
	begun := time.Now()
	for timeout := how.Timeout; ; {
		waiting, cancel := ctx, context.CancelFunc(func() {})
		if how.Timeout > 0 {
			waiting, cancel = context.WithDeadline(ctx, begun.Add(timeout))
		}
		err := handle.Wait(waiting)
		expired := waiting.Err() != nil
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("the daemon with PID %d goes on stopping: %w", pid, context.Cause(ctx))
		case !expired:
			return fmt.Errorf("cannot wait for the daemon with PID %d: %w", pid, err)
		}
		if longer := needs(inst, handle.Identity()).Sub(begun); how.Patient && longer > timeout {
			timeout = longer
			continue
		}
		return force(handle, time.Since(begun).Round(time.Second))
	}
}

// needs is when a daemon says that it will have ended; the zero time when it has not said.
func needs(inst instance.Instance, daemon process.Identity) time.Time {
	record, err := readRecord(inst)
	if err != nil || record == nil || record.Identity != daemon || record.StopBy == nil {
		return time.Time{}
	}
	return record.StopBy.Add(stopMargin)
}

func force(handle *process.Handle, after time.Duration) error {
	pid := handle.Identity().PID
	if err := handle.Kill(); err != nil && !errors.Is(err, process.ErrGone) {
		return fmt.Errorf("cannot end the daemon with PID %d by force: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), killWait)
	defer cancel()
	if err := handle.Wait(ctx); err != nil {
		return fmt.Errorf("the daemon with PID %d was killed and is still there: %w", pid, err)
	}
	return fmt.Errorf("the daemon with PID %d had not ended after %s and was %w: %w", pid, after, ErrForced, context.DeadlineExceeded)
}

// forgetDead removes the files of a daemon that could not do so itself, unless another has the lock by now.
func forgetDead(inst instance.Instance) error {
	unlock, err := lock(inst)
	if errors.Is(err, ErrRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(removeRecord(inst), removeRequest(inst), unlock())
}
