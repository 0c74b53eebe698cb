package controlplane

import (
	"net"
	"sync"
	"time"
)

// lastAnswers is far more than it takes to write what has been answered to the connections.
const lastAnswers = 50 * time.Millisecond

// connections is a listener that can close what it has accepted. When the server stops, net/http gives each idle connection of
// HTTP/2 a second to go by itself: nobody needs that once all requests and watches have ended.
type connections struct {
	net.Listener

	mu   sync.Mutex
	open map[*connection]struct{}
}

type connection struct {
	net.Conn
	of *connections
}

func newConnections(listener net.Listener) *connections {
	return &connections{Listener: listener, open: map[*connection]struct{}{}}
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	accepted := &connection{conn, c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[accepted] = struct{}{}
	return accepted, nil
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// closeSoon closes the connections that are open, once the last answers are on their way, unless the server has ended before.
func (c *connections) closeSoon(ended <-chan struct{}) {
	timer := time.NewTimer(lastAnswers)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for accepted := range c.open {
		_ = accepted.Conn.Close() // the other side may have been faster
	}
	clear(c.open)
}
