package hostagent

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

const asksForSSH = "Waiting for the essential requirement 1 of 3: `ssh`"

// TestLimaAsksWhenSSHAnswers goes through what a guest that boots looks like from outside: nobody there, a connection that is
// refused by the guest, one that is taken and never answered, and a server.
func TestLimaAsksWhenSSHAnswers(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	answered, asked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		waiter := &sshWaiter{ctx: t.Context(), port: func() int { return listener.Addr().(*net.TCPAddr).Port }}
		if err := waiter.Fire(&logrus.Entry{Message: asksForSSH}); err != nil {
			t.Error(err)
		}
		select {
		case <-answered:
		default:
			t.Error("Lima asks before the server has answered")
		}
	}()
	for _, guest := range []func(net.Conn){
		func(conn net.Conn) { _ = conn.Close() },
		func(net.Conn) {}, // until the waiter gives it up
		func(conn net.Conn) {
			close(answered)
			_, _ = conn.Write([]byte("SSH-2.0-x\r\n"))
		},
	} {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		guest(conn)
	}
	<-asked
}

func TestOnlyTheFirstRequirementWaitsForSSH(t *testing.T) {
	waiter := &sshWaiter{ctx: t.Context(), port: func() int { t.Error("it looks for the server"); return 0 }}
	for _, message := range []string{"Waiting for the essential requirement 2 of 3: `user session is ready for ssh`", "READY"} {
		if err := waiter.Fire(&logrus.Entry{Message: message}); err != nil {
			t.Error(err)
		}
	}
}

func TestStopEndsTheWaitForSSH(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looked := make(chan struct{}, 1)
	waiter := &sshWaiter{ctx: ctx, port: func() int { looked <- struct{}{}; return 1 }} // nobody listens there
	asked := make(chan error, 1)
	go func() { asked <- waiter.Fire(&logrus.Entry{Message: asksForSSH}) }()
	<-looked
	cancel()
	select {
	case err := <-asked:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(sshPatience / 2):
		t.Error("it waits on")
	}
}
