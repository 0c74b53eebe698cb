//go:build !linux

package control

import "net"

// checkServer and checkClient rely on the closed directory and on the proofs where the platform cannot name the peer.
func checkServer(net.Conn, int) error { return nil }

func checkClient(net.Conn) error { return nil }
