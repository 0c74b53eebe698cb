package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// native is a pidfd (Linux 5.3). It rides on Go's poller, so that a wait costs a goroutine and no thread.
type native struct {
	pid  int
	file *os.File
	conn syscall.RawConn
}

func openNative(pid int) (*native, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return nil, ErrGone // EINVAL, and ENOENT since 6.16: a thread wears the number, and no process does
	case err != nil:
		return nil, fmt.Errorf("cannot open a pidfd: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot prepare a pidfd: %w", err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot prepare a pidfd: %w", err), file.Close())
	}
	return &native{pid: pid, file: file, conn: conn}, nil
}

// describe looks the PID up. If the process behind the pidfd has not ended after that, it has worn the PID all the time, and
// so the description is its own.
func (n *native) describe() (Info, error) {
	info, err := identify(n.pid)
	if err != nil {
		return Info{}, err
	}
	ended, err := n.ended()
	if err == nil && ended {
		err = ErrGone
	}
	return info, err
}

// ended asks the pidfd, which becomes readable when the last thread has ended. The state Z in /proc is no proof of that: the
// first thread of a living process may be a zombie.
func (n *native) ended() (bool, error) {
	var ended bool
	var err error
	if closed := n.conn.Control(func(fd uintptr) { ended, err = readable(fd) }); closed != nil {
		return false, os.ErrClosed
	}
	return ended, err
}

func readable(fd uintptr) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}

func (n *native) wait() error {
	var err error
	closed := n.conn.Read(func(fd uintptr) bool {
		var ended bool
		ended, err = readable(fd)
		return ended || err != nil
	})
	if closed != nil {
		return os.ErrClosed
	}
	return err
}

func (n *native) interrupt() error { return n.signal(unix.SIGINT) }
func (n *native) kill() error      { return n.signal(unix.SIGKILL) }
func (n *native) halt() error      { return n.signal(unix.SIGSTOP) }

// halted tells whether no thread runs or can be woken. One that sleeps in the kernel (D) stops before it does anything else.
func (n *native) halted() bool {
	dir := "/proc/" + strconv.Itoa(n.pid) + "/task/"
	threads, _ := os.ReadDir(dir)
	for _, thread := range threads {
		if s, err := readStatFile(dir + thread.Name() + "/stat"); err == nil && (s.state == 'R' || s.state == 'S') {
			return false
		}
	}
	return true
}

func (n *native) signal(sig unix.Signal) error {
	var err error
	if closed := n.conn.Control(func(fd uintptr) {
		err = unix.PidfdSendSignal(int(fd), sig, nil, 0)
	}); closed != nil {
		return os.ErrClosed
	}
	if errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return err
}

// pinned is false: a pidfd does not keep the PID from others.
func (n *native) pinned() bool { return false }

func (n *native) close() error { return n.file.Close() }
