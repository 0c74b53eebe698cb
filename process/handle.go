package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Handle refers to one process, whatever becomes of its PID. It works for processes of any parentage. Its methods may be
// called concurrently, also with Close; after Close they return os.ErrClosed.
type Handle struct {
	id     Identity
	native *native

	watch sync.Once
	ended chan struct{} // closed when the process has ended or the handle is closed
	err   error         // why ended was closed: nil or os.ErrClosed
}

// Open returns a handle for the process that id names. The identity is checked behind the open handle. If the process is
// gone, errors.Is(err, ErrGone); if another process wears its PID now, err is also a *StrangerError that tells which. If it
// is there and the system denies us access, errors.Is(err, fs.ErrPermission).
func Open(id Identity) (*Handle, error) {
	n, found, err := look(id.PID)
	if !found.IsZero() && found.Identity != id {
		if n != nil {
			_ = n.close()
		}
		return nil, &StrangerError{Want: id, Found: found}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %v: %w", id, err)
	}
	return &Handle{id: id, native: n, ended: make(chan struct{})}, nil
}

// Identity returns what Open was given.
func (h *Handle) Identity() Identity { return h.id }

// Alive tells whether the process has not ended.
func (h *Handle) Alive() bool {
	ended, err := h.native.ended()
	if err == nil {
		return !ended
	}
	// The handle is closed: look again, rather than claim a death that nobody saw.
	again, err := Open(h.id)
	if err == nil {
		_ = again.Close()
	}
	return !errors.Is(err, ErrGone)
}

// Wait returns nil when the process has ended, or an error when ctx is done or the handle is closed before that.
func (h *Handle) Wait(ctx context.Context) error {
	h.watch.Do(func() {
		go func() {
			h.err = h.native.wait()
			close(h.ended)
		}()
	})
	select {
	case <-h.ended:
		return h.err
	default:
	}
	select {
	case <-h.ended:
		return h.err
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for process %v: %w", h.id, ctx.Err())
	}
}

// Interrupt asks the process to end: SIGINT on Unix; on Windows CTRL_BREAK to the process's group, which works for a process
// that was started by Start and shares a console with the caller. It returns ErrGone if the process has ended.
func (h *Handle) Interrupt() error { return h.act("interrupt", h.native.interrupt) }

// Kill ends the process: SIGKILL on Unix, TerminateProcess on Windows. It does not wait for the end. It returns ErrGone if
// the process has ended.
func (h *Handle) Kill() error { return h.act("kill", h.native.kill) }

// KillSelf ends the calling process as Kill does: nothing of it runs any more, deferred functions neither.
func KillSelf() error {
	self, err := Self()
	if err != nil {
		return err
	}
	handle, err := Open(self)
	if err != nil {
		return err
	}
	defer handle.Close()
	return handle.Kill()
}

func (h *Handle) act(what string, do func() error) error {
	ended, err := h.native.ended()
	if err == nil && ended {
		err = ErrGone
	}
	if err == nil {
		err = do()
	}
	if err != nil {
		return fmt.Errorf("cannot %s process %v: %w", what, h.id, err)
	}
	return nil
}

// Close lets go of the process and leaves it as it is.
func (h *Handle) Close() error {
	if err := h.native.close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("cannot close the handle of process %v: %w", h.id, err)
	}
	return nil
}
