package control

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// checkServer fails unless the process that listens on the other end is the one with this PID, which cannot be anybody
// else's while it holds the socket open.
func checkServer(conn net.Conn, pid int) error {
	peer, err := peerOf(conn)
	if err != nil {
		return err
	}
	if int(peer.Pid) != pid {
		return fmt.Errorf("%w: process %d listens instead of %d", ErrNotOurs, peer.Pid, pid)
	}
	return nil
}

// checkClient fails unless the other end belongs to the same user.
func checkClient(conn net.Conn) error {
	peer, err := peerOf(conn)
	if err != nil {
		return err
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d may not control this agent", peer.Uid)
	}
	return nil
}

func peerOf(conn net.Conn) (*unix.Ucred, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("cannot tell who is at the other end of %T", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot tell who is at the other end: %w", err)
	}
	var peer *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, fmt.Errorf("cannot tell who is at the other end: %w", err)
	}
	if credErr != nil {
		return nil, fmt.Errorf("cannot tell who is at the other end: %w", credErr)
	}
	return peer, nil
}
