package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

// killWait bounds the wait for the end of a process that was killed.
const killWait = 10 * time.Second

// Stop asks the daemon of an instance to end, which it does after its VMs have, and waits. When timeout has passed (0 means
// never), it is ended by force and the error wraps context.DeadlineExceeded; its VMs are then left to the next daemon. When
// ctx ends first, the daemon goes on stopping. It returns false when no daemon was running.
func Stop(ctx context.Context, inst instance.Instance, timeout time.Duration) (was bool, err error) {
	record, err := readRecord(inst)
	if err != nil || record == nil {
		return false, err
	}
	handle, err := process.Open(record.Identity)
	if errors.Is(err, process.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot stop the daemon with PID %d: %w", record.PID, err)
	}
	defer handle.Close()
	if err := handle.Interrupt(); err != nil && !errors.Is(err, process.ErrGone) {
		return true, fmt.Errorf("cannot ask the daemon with PID %d to end: %w", record.PID, err)
	}
	waiting, cancel := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		waiting, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	switch err := handle.Wait(waiting); {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return true, fmt.Errorf("the daemon with PID %d goes on stopping: %w", record.PID, context.Cause(ctx))
	case waiting.Err() == nil:
		return true, fmt.Errorf("cannot wait for the daemon with PID %d: %w", record.PID, err)
	}
	return true, force(handle, timeout)
}

func force(handle *process.Handle, timeout time.Duration) error {
	pid := handle.Identity().PID
	if err := handle.Kill(); err != nil && !errors.Is(err, process.ErrGone) {
		return fmt.Errorf("cannot end the daemon with PID %d by force: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), killWait)
	defer cancel()
	if err := handle.Wait(ctx); err != nil {
		return fmt.Errorf("the daemon with PID %d was killed and is still there: %w", pid, err)
	}
	return fmt.Errorf("the daemon with PID %d had not ended after %s and was ended by force: %w", pid, timeout, context.DeadlineExceeded)
}
