package process

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/windows"
)

// native is a process handle. Windows gives the PID of a process to nobody else while a handle of it is open.
type native struct {
	pid     int
	process windows.Handle
	wakeUp  windows.Handle // an event that ends wait when the handle is closed
	users   sync.RWMutex   // held for reading while the handles are in use
	closed  atomic.Bool
}

const (
	accessToLook = windows.SYNCHRONIZE | windows.PROCESS_QUERY_LIMITED_INFORMATION
	accessToEnd  = accessToLook | windows.PROCESS_TERMINATE
	killedExit   = 1 // the exit code of a process that was killed
)

func openNative(pid int) (*native, error) {
	process, err := windows.OpenProcess(accessToEnd, false, uint32(pid))
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		process, err = windows.OpenProcess(accessToLook, false, uint32(pid))
	}
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open a process handle: %w", err)
	}
	// OpenProcess ignores the last two bits of a PID.
	if worn, err := windows.GetProcessId(process); err != nil || int(worn) != pid {
		return nil, errors.Join(ErrGone, windows.CloseHandle(process))
	}
	wakeUp, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot create an event: %w", err), windows.CloseHandle(process))
	}
	return &native{pid: pid, process: process, wakeUp: wakeUp}, nil
}

// use calls do unless the handle is closed, and keeps it open meanwhile.
func (n *native) use(do func() error) error {
	n.users.RLock()
	defer n.users.RUnlock()
	if n.closed.Load() {
		return os.ErrClosed
	}
	return do()
}

func (n *native) describe() (Info, error) {
	info, err := describeHandle(n.pid, n.process)
	if err != nil {
		return Info{}, err
	}
	ended, err := n.ended()
	if err == nil && ended {
		err = ErrGone
	}
	return info, err
}

func describeHandle(pid int, process windows.Handle) (Info, error) {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(process, &created, &exited, &kernel, &user); err != nil {
		return Info{}, fmt.Errorf("cannot ask for the times of process %d: %w", pid, err)
	}
	start := uint64(created.HighDateTime)<<32 | uint64(created.LowDateTime)
	info := Info{Identity: Identity{PID: pid, StartTime: start}, Started: startedAt(start)}
	path := make([]uint16, windows.MAX_LONG_PATH)
	length := uint32(len(path))
	if err := windows.QueryFullProcessImageName(process, 0, &path[0], &length); err == nil {
		info.Name = programName(windows.UTF16ToString(path[:length]))
	}
	return info, nil
}

func (n *native) ended() (ended bool, err error) {
	err = n.use(func() error {
		event, err := windows.WaitForSingleObject(n.process, 0)
		ended = err == nil && event == windows.WAIT_OBJECT_0
		return err
	})
	return ended, err
}

// wait holds a thread until the process exits or the handle is closed.
func (n *native) wait() error {
	return n.use(func() error {
		event, err := windows.WaitForMultipleObjects([]windows.Handle{n.process, n.wakeUp}, false, windows.INFINITE)
		if err != nil {
			return fmt.Errorf("cannot wait on a process handle: %w", err)
		}
		if event != windows.WAIT_OBJECT_0 {
			return os.ErrClosed
		}
		return nil
	})
}

// interrupt reaches a process that leads its group and shares our console. See start for who shares it.
func (n *native) interrupt() error {
	return n.use(func() error {
		return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(n.pid))
	})
}

func (n *native) kill() error {
	err := n.use(func() error { return windows.TerminateProcess(n.process, killedExit) })
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		if ended, _ := n.ended(); ended {
			return ErrGone // Windows denies access to a process that is ending
		}
	}
	return err
}

// halt ends the process. There is no documented way to stop it; but its children can be listed after its end as well, since
// they name its PID as their parent's for ever, and the open handle keeps that PID from others.
func (n *native) halt() error { return n.kill() }

// halted tells whether the process, which may be a moment in dying, has ended.
func (n *native) halted() bool {
	ended, err := n.ended()
	return ended || err != nil
}

func (n *native) pinned() bool { return true }

func (n *native) close() error {
	if n.closed.Swap(true) {
		return os.ErrClosed
	}
	err := windows.SetEvent(n.wakeUp)
	n.users.Lock()
	defer n.users.Unlock()
	return errors.Join(err, windows.CloseHandle(n.process), windows.CloseHandle(n.wakeUp))
}
