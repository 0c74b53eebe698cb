package hostagent

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// sshPatience bounds how long Lima is kept from asking: guests that are never heard here, because their server says
	// nothing before its client does or listens elsewhere, are left to Lima's own ways.
	sshPatience = 2 * time.Minute
	// Patience with a connection that is taken and not answered: QEMU takes connections before its guest can, and the more rarely
	// knocks at the guest again the older they are, so that a new one is quicker. It grows: a guest that is slow must be let answer
	// some time, and starts a server for each connection that comes through.
	firstPatience, lastPatience = time.Second, 4 * time.Second
	// sshRetry is the pause after a connection that was refused.
	sshRetry = 50 * time.Millisecond
)

// sshWaiter lets Lima ask the guest for ssh as soon as the guest's server answers. Lima asks at once, which is too early,
// and again three seconds later, wherever in these the server came up. It logs a line right before it asks for the first time,
// so that a hook of the logger can make it wait; where its words change, it asks every three seconds again.
type sshWaiter struct {
	ctx  context.Context // ends when the VM is to stop
	port func() int      // where the server of the guest is on this machine
}

// Levels implements logrus.Hook.
func (*sshWaiter) Levels() []logrus.Level { return []logrus.Level{logrus.InfoLevel} }

// Fire implements logrus.Hook.
func (w *sshWaiter) Fire(entry *logrus.Entry) error {
	if match := waiting.FindStringSubmatch(entry.Message); match == nil || match[2] != "ssh" {
		return nil
	}
	ctx, cancel := context.WithTimeout(w.ctx, sshPatience)
	defer cancel()
	waitForGreeting(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port())))
	return nil
}

// waitForGreeting returns when who listens at address says something to one who comes, or when ctx ends.
func waitForGreeting(ctx context.Context, address string) {
	patience := firstPatience
	for ctx.Err() == nil {
		switch greeting(ctx, address, patience) {
		case heard:
			return
		case silence:
			patience = min(2*patience, lastPatience)
		case refused:
			select {
			case <-ctx.Done():
			case <-time.After(sshRetry):
			}
		}
	}
}

// answer is what became of a connection.
type answer int

const (
	refused answer = iota // or closed
	silence
	heard
)

func greeting(ctx context.Context, address string, patience time.Duration) answer {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return refused
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience)) // it fails where reading does
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })()
	n, err := conn.Read(make([]byte, 1))
	switch {
	case n > 0:
		return heard
	case errors.Is(err, os.ErrDeadlineExceeded):
		return silence
	}
	return refused
}
