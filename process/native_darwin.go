package process

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// native is a kqueue that is told when the process exits. macOS has no signal by handle: the identity is checked once more
// immediately before the signal, and if the process ends and its PID is given away between the two system calls, the signal
// hits the wrong process. PIDs are given out in turn, so that all 99,998 others have to be used up in these microseconds.
type native struct {
	pid    int
	id     Identity // set by describe
	kq     int
	users  sync.RWMutex // held for reading while kq is in use
	closed atomic.Bool
	exited atomic.Bool
}

// wakeUp is the identifier of the user event that ends wait when the handle is closed.
const wakeUp = 1

func openNative(pid int) (*native, error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return nil, fmt.Errorf("cannot open a kqueue: %w", err)
	}
	unix.CloseOnExec(kq)
	changes := []unix.Kevent_t{
		{Ident: uint64(pid), Filter: unix.EVFILT_PROC, Flags: unix.EV_ADD, Fflags: unix.NOTE_EXIT},
		{Ident: wakeUp, Filter: unix.EVFILT_USER, Flags: unix.EV_ADD},
	}
	if _, err := kevent(kq, changes, nil, nil); err != nil {
		if errors.Is(err, unix.ESRCH) {
			err = ErrGone
		}
		return nil, errors.Join(err, unix.Close(kq))
	}
	return &native{pid: pid, kq: kq}, nil
}

// describe looks the PID up after the kqueue was told to watch its wearer. If no exit has been reported by then, the
// description is that of the process that is watched.
func (n *native) describe() (Info, error) {
	info, dead, err := lookUp(n.pid)
	if err != nil {
		return Info{}, err
	}
	var events [2]unix.Kevent_t
	count, err := kevent(n.kq, nil, events[:], &unix.Timespec{})
	if err != nil {
		return Info{}, err
	}
	if count > 0 || dead {
		return Info{}, ErrGone
	}
	n.id = info.Identity
	return info, nil
}

func (n *native) ended() (bool, error) {
	if n.closed.Load() {
		return false, os.ErrClosed
	}
	if n.exited.Load() {
		return true, nil
	}
	info, dead, err := lookUp(n.pid)
	if errors.Is(err, ErrGone) {
		return true, nil
	}
	return err == nil && (dead || info.Identity != n.id), err
}

// wait holds a thread until the process exits or the handle is closed. It is called once.
func (n *native) wait() error {
	n.users.RLock()
	defer n.users.RUnlock()
	for !n.exited.Load() {
		if n.closed.Load() {
			return os.ErrClosed
		}
		var events [2]unix.Kevent_t
		count, err := kevent(n.kq, nil, events[:], nil)
		if err != nil {
			return fmt.Errorf("cannot wait on a kqueue: %w", err)
		}
		for _, event := range events[:count] {
			if event.Filter == unix.EVFILT_PROC {
				n.exited.Store(true)
			}
		}
	}
	return nil
}

func (n *native) interrupt() error { return n.signal(unix.SIGINT) }
func (n *native) kill() error      { return n.signal(unix.SIGKILL) }
func (n *native) halt() error      { return n.signal(unix.SIGSTOP) }

func (n *native) signal(sig unix.Signal) error {
	ended, err := n.ended()
	if err == nil && !ended {
		err = unix.Kill(n.pid, sig)
	}
	if ended || errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return err
}

func (n *native) halted() bool {
	kinfo, err := kinfo(n.pid)
	return err != nil || kinfo.Proc.P_stat == stateStopped || kinfo.Proc.P_stat == stateZombie
}

// pinned is false: a kqueue does not keep the PID from others.
func (n *native) pinned() bool { return false }

func (n *native) close() error {
	if n.closed.Swap(true) {
		return os.ErrClosed
	}
	// The event stays on, so that wait ends also if it begins only now.
	_, err := kevent(n.kq, []unix.Kevent_t{{Ident: wakeUp, Filter: unix.EVFILT_USER, Fflags: unix.NOTE_TRIGGER}}, nil, nil)
	n.users.Lock()
	defer n.users.Unlock()
	return errors.Join(err, unix.Close(n.kq))
}

func kevent(kq int, changes, events []unix.Kevent_t, timeout *unix.Timespec) (int, error) {
	for {
		n, err := unix.Kevent(kq, changes, events, timeout)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
