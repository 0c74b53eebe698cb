package hostagent

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/process"
)

const (
	// signalGrace is what a VM gets when the agent is asked to stop by a signal, which cannot carry a grace.
	signalGrace = 30 * time.Second
	// killTimeout bounds the wait for killed processes to be gone.
	killTimeout = 5 * time.Second
	// endTimeout is what Lima gets to come back after its VM was killed. The agent ends then, whatever Lima does.
	endTimeout = time.Second
)

// agent is the state of one run of a VM. Events are methods; each takes the lock, looks at the phase, acts, and moves on.
type agent struct {
	self    process.Identity
	journal *control.Journal
	lima    chan os.Signal // what Lima's hostagent listens to
	kill    func(ctx context.Context) error

	mu       sync.Mutex
	state    control.State
	ctx      context.Context         // of what runs before the VM does, or beside it
	cancel   context.CancelCauseFunc // ends that
	stopping bool
	forceAt  time.Time
	grace    *time.Timer
	forced   bool
	gaveUp   chan struct{} // closed when Lima did not come back after force
}

func newAgent(ctx context.Context, self process.Identity, journal *control.Journal) *agent {
	ctx, cancel := context.WithCancelCause(ctx)
	a := &agent{
		self: self, journal: journal, ctx: ctx, cancel: cancel, lima: make(chan os.Signal, 1), gaveUp: make(chan struct{}),
		state: control.State{Phase: control.Preparing, StartedAt: time.Now()},
	}
	a.kill = func(ctx context.Context) error { return process.KillTree(ctx, self) } // spares the caller
	return a
}

// State implements control.Agent.
func (a *agent) State() control.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	state := a.state
	state.Offset = a.journal.Size()
	return state
}

// Note implements teller: what the agent tells goes into the journal.
func (a *agent) Note(note control.Note) error { return a.journal.Note(note) }

// Write implements io.Writer for Lima, which writes one event at a time. It never fails: Lima's encoder writes nothing any more
// after one error, and the journal keeps what the disk does not take.
func (a *agent) Write(line []byte) (int, error) {
	if _, err := a.journal.Write(line); err != nil {
		logrus.WithError(err).Error("an event is not on disk yet")
	}
	var event control.Event
	if json.Unmarshal(line, &event) == nil {
		a.limaSaid(event.Status)
	}
	return len(line), nil
}

func (a *agent) limaSaid(status control.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if status.SSHLocalPort != 0 {
		a.state.SSHPort = status.SSHLocalPort
	}
	switch {
	case a.stopping:
		if a.forced { // the VM came up behind the back of the force
			go a.killAll()
		}
	case status.Running:
		if a.state.Phase != control.Running {
			a.state.RunningSince = time.Now()
			go settle(a.ctx)
		}
		a.state.Phase = control.Running
		a.state.Errors = status.Errors
	case a.state.Phase == control.Preparing && !status.Exiting:
		keepGarbage()
		a.state.Phase = control.Booting // Lima's first event comes right after the driver has started
	}
}

// sshPort is where the ssh server of the guest is; 0 before Lima has started the VM.
func (a *agent) sshPort() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state.SSHPort
}

// driverFound tells which process carries the VM.
func (a *agent) driverFound(id process.Identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Driver != id {
		a.state.Driver = id
		_ = a.Note(control.Note{Driver: &id})
	}
}

// Stop implements control.Agent: the first request shuts the VM down, later ones can only shorten its grace.
func (a *agent) Stop(grace time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := time.Now().Add(grace)
	if a.stopping && !at.Before(a.forceAt) {
		return
	}
	a.forceAt = at
	if !a.stopping {
		a.stopping = true
		a.cancel(errStopped)
		_ = a.Note(control.Note{Stopping: true})
		a.state.Phase = control.Stopping
		a.lima <- os.Interrupt // never blocks: nobody else sends, and there is room for one
		a.grace = time.AfterFunc(grace, a.graceElapsed)
		return
	}
	a.grace.Reset(grace)
}

// graceElapsed ends whatever the VM consists of. Lima notices, tidies up and returns; if it does not, the agent gives it up.
func (a *agent) graceElapsed() {
	a.mu.Lock()
	if a.forced {
		a.mu.Unlock()
		return
	}
	a.forced = true
	a.mu.Unlock()
	_ = a.Note(control.Note{Forced: true})
	a.killAll()
	time.AfterFunc(endTimeout, func() { close(a.gaveUp) })
}

// killAll ends all that the agent has started, and tells whether it could.
func (a *agent) killAll() bool {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	if err := a.kill(ctx); err != nil {
		_ = a.Note(control.Note{Notice: warning("KillFailed", oneLine(err))})
		return false
	}
	return true
}

// wasStopped tells whether the end of the VM was asked for.
func (a *agent) wasStopped() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stopping
}
