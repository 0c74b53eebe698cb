package lima

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

const (
	// startTimeout is how long a start may show no progress: Lima itself gives up after that.
	startTimeout = 10 * time.Minute
	// stopMargin is what an agent gets on top of the grace, for using force itself.
	stopMargin = 1500 * time.Millisecond
	// askTimeout bounds one request to an agent.
	askTimeout = 5 * time.Second
	// retryPause is how long to wait before something is tried again that has failed and must not stay undone.
	retryPause = 2 * time.Second
	// maxRetryPause is how long that becomes when it fails again and again.
	maxRetryPause = time.Minute
)

// run is one agent, from its start, or its adoption, to its end. The supervisor's lock guards it.
type run struct {
	agent     process.Identity
	record    agentRecord
	adopted   bool
	apart     bool          // it speaks no protocol of ours: it is seen by its identity, and asked by signals
	exited    chan struct{} // closed when the agent has ended
	connected chan struct{} // closed when client is set
	alive     chan struct{} // sent to when the agent tells something while it starts

	client       *control.Client
	driver       process.Identity
	sshPort      int
	degraded     []string
	told         string // why the agent is about to fail, in its own words
	exitStatus   string
	reached      bool // it was Running
	runningSince time.Time
	quietUntil   int64 // notices before this offset were told to an earlier daemon

	stopping   bool // the end was asked for, by us or by somebody else
	forced     bool
	stopAt     time.Time
	stopSooner chan struct{} // sent to when stopAt has moved; nil until the first stop
	failing    *vm.Failure   // why we stop it, if it is not because we were asked to
}

func newRun(agent process.Identity, record agentRecord) *run {
	return &run{
		agent: agent, record: record,
		exited: make(chan struct{}), connected: make(chan struct{}), alive: make(chan struct{}, 1),
	}
}

func (r *run) host() *vm.Host {
	if r.agent.IsZero() {
		return nil
	}
	return &vm.Host{Agent: r.agent, Driver: r.driver, StartedAt: r.record.StartedAt, Adopted: r.adopted}
}

func (s *supervisor) start() error {
	return s.update(func() (bool, error) {
		switch {
		case s.state == vm.Starting:
			return false, nil
		case s.state != vm.Stopped || s.rec.Step != stepCreated:
			return false, vm.StateError(s.state)
		case s.job != nil:
			return false, errors.New("a template is being applied")
		}
		r := newRun(process.Identity{}, agentRecord{})
		if err := s.driver.run(true, func() { s.launch(r) }); err != nil {
			return false, err
		}
		s.run, s.state, s.progress = r, vm.Starting, &vm.Progress{Stage: "Starting", Percent: -1}
		return true, nil
	})
}

// launch starts an agent and stays with it to its end.
func (s *supervisor) launch(r *run) {
	state, lost, err := s.lookBefore()
	if lost != nil {
		close(r.exited)
		s.set(func() { s.run, s.progress, s.state, s.failure, s.rec = nil, nil, state, lost, record{} })
		return
	}
	if err == nil {
		err = s.tidy()
	}
	if err != nil { // whatever is in the way, nothing is to be undone yet
		s.notBegun(r, err)
		return
	}
	crashpoint.At(crashpoint.StartTidied)
	notes := make(chan control.Note, 1)
	child, err := s.startAgent(r, notes)
	if err != nil {
		r.told = err.Error()
		close(r.exited)
		s.ended(r)
		return
	}
	if s.driver.background(func() {
		select {
		case <-child.Done():
			s.set(func() { r.exitStatus = child.ExitStatus() })
			close(r.exited)
		case <-s.driver.ctx.Done():
		}
	}) != nil {
		return
	}
	s.attendRun(r, func(ctx context.Context) {
		ready, heard := make(chan struct{}), make(chan struct{})
		_ = s.driver.background(func() {
			defer close(heard)
			s.hear(r, notes, sync.OnceFunc(func() { close(ready) }))
		})
		select {
		case <-ready:
			s.follow(ctx, r)
		case <-ctx.Done():
		}
		select {
		case <-heard:
		case <-ctx.Done():
		}
	})
}

// hear takes what the agent tells through its pipe, until that is closed: that it is ready, and why it fails, which it may not be
// able to write anywhere.
func (s *supervisor) hear(r *run, notes <-chan control.Note, ready func()) {
	defer ready()
	for note := range notes {
		if note.Ready {
			ready()
		}
		if note.Failure != "" {
			s.set(func() { r.told = note.Failure })
		}
	}
}

// startAgent does all that has to come before an agent may begin. The agent waits until its record is safe.
func (s *supervisor) startAgent(r *run, notes chan<- control.Note) (*child, error) {
	if err := s.claim(s.driver.ctx); err != nil {
		return nil, err
	}
	if err := s.readyKeys(); err != nil {
		return nil, err
	}
	child, err := s.spawn("run", s.dir.AgentLog(), notes)
	if err != nil {
		return nil, err
	}
	if child.Held() {
		s.log.Warn("the VM may end with this daemon: whoever started the daemon keeps it and its children in a Job Object")
	}
	if err := s.endJournal(); err != nil {
		return nil, errors.Join(err, child.end(s.driver.ctx))
	}
	rec := s.recorded()
	rec.Child = child.Identity()
	rec.Agent = &agentRecord{Token: control.NewToken(), StartedAt: time.Now()}
	if err := s.save(rec); err != nil {
		return nil, errors.Join(err, child.end(s.driver.ctx))
	}
	crashpoint.At(crashpoint.AgentRecorded)
	s.set(func() { r.agent, r.record = rec.Child, *rec.Agent })
	_ = s.driver.background(func() {
		defer child.stdin.Close()
		reason := s.driver.accel.broken(s.driver.ctx, rec.Instance)
		if reason != "" && s.driver.accel.tell() {
			s.set(func() {
				s.notice(vm.Notice{Warning: true, Reason: "NoAcceleration", Message: reason + "; using emulation, which is slow"})
			})
		}
		s.mu.Lock()
		stopping := r.stopping
		s.mu.Unlock()
		if !stopping { // or else the closed pipe ends it
			child.boot(control.Boot{Token: rec.Agent.Token, Emulate: reason != ""})
			crashpoint.At(crashpoint.StartTold)
		}
	})
	return child, nil
}

// endJournal removes the journal of the run before, which tells nothing of the one that is about to be recorded: the agent begins its
// own later, and a daemon that comes in between would judge by the old one. Until the record is rid of the old run it is needed.
func (s *supervisor) endJournal() error {
	s.mu.Lock()
	rec, unsaved := s.rec, s.unsaved != nil
	s.mu.Unlock()
	if unsaved {
		if err := s.save(rec); err != nil {
			return err
		}
	}
	if err := os.Remove(s.dir.Journal()); err != nil && !isGone(err) {
		s.log.Warn("cannot remove the journal of the run before", "err", err) // where the agent cannot begin one either, it tells
	}
	return nil
}

// attendRun follows an agent until it has ended, and tidies up after it.
func (s *supervisor) attendRun(r *run, follow func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(s.driver.ctx)
	defer cancel()
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		follow(ctx)
	}()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-r.alive:
			timeout.Reset(startTimeout)
			continue
		case <-timeout.C:
			s.gaveUp(r)
			continue
		case <-r.exited:
		case <-ctx.Done():
		}
		break
	}
	select { // what the agent told last is still in the stream
	case <-followed:
	case <-time.After(drainTimeout):
		cancel()
		<-followed
	case <-ctx.Done():
		<-followed
	}
	if s.driver.ctx.Err() == nil {
		s.ended(r)
	}
}

// gaveUp stops an agent that does not come to Running.
func (s *supervisor) gaveUp(r *run) {
	s.mu.Lock()
	if s.state != vm.Starting {
		s.mu.Unlock()
		return
	}
	r.failing = &vm.Failure{During: vm.OpStart, Message: fmt.Sprintf("it did not come up: no progress for %v", startTimeout)}
	s.mu.Unlock()
	_ = s.stop(30 * time.Second)
}

// follow connects to the agent and takes its events, again after every interruption, until the agent ends.
func (s *supervisor) follow(ctx context.Context, r *run) {
	var from int64
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, retryPause) {
		client, err := control.Dial(ctx, s.dir.ControlSocket(), s.dir.Name, r.agent, r.record.Token)
		if err == nil {
			pause = 50 * time.Millisecond
			s.connect(r, client)
			from, err = s.events(ctx, r, client, from)
			client.Close()
		}
		if errors.Is(err, control.ErrIncompatible) { // it is of a binary that was put in the place of ours
			s.keepApart(r, err)
			return
		}
		select {
		case <-r.exited:
			return
		case <-ctx.Done():
			return
		case <-time.After(pause):
			s.log.Debug("lost the agent", "err", err)
		}
	}
}

func (s *supervisor) events(ctx context.Context, r *run, client *control.Client, from int64) (int64, error) {
	err := client.Events(ctx, from, func(next int64, event control.Event) error {
		from = next
		_ = s.update(func() (bool, error) { return s.take(r, next, event), nil })
		return nil
	})
	return from, err
}

func (s *supervisor) connect(r *run, client *control.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.client == nil {
		close(r.connected)
	}
	r.client = client
}

// take is the one place where an agent's event changes what is known; the lock is held. It tells whether anything changed.
func (s *supervisor) take(r *run, next int64, event control.Event) bool {
	changed := false
	if port := event.Status.SSHLocalPort; port != 0 && port != r.sshPort {
		r.sshPort, changed = port, true
	}
	if event.Status.Running && !r.reached && !r.stopping {
		s.reachedRunning(r, event)
		changed = true
	}
	if event.RDD != nil && s.takeNote(r, next, *event.RDD) {
		changed = true
	}
	if changed && s.state == vm.Starting {
		select {
		case r.alive <- struct{}{}:
		default:
		}
	}
	return changed
}

func (s *supervisor) reachedRunning(r *run, event control.Event) {
	r.reached, r.runningSince = true, event.Time
	if event.Status.Degraded {
		r.degraded = event.Status.Errors
	}
	s.state, s.failure, s.progress = vm.Running, nil, nil
}

func (s *supervisor) takeNote(r *run, next int64, note control.Note) bool {
	switch {
	case note.Progress != nil && s.state == vm.Starting:
		s.progress = note.Progress
	case note.Notice != nil && next > r.quietUntil:
		s.notice(*note.Notice)
	case note.Instance != nil:
		s.rec.Instance = note.Instance // the defaults that Lima mixes in may have changed since it was created
	case note.Driver != nil:
		r.driver = *note.Driver
	case note.Stopping:
		r.stopping = true
		if s.state == vm.Starting || s.state == vm.Running {
			s.state, s.progress = vm.Stopping, nil
		}
	case note.Forced:
		r.forced = true
	case note.Failure != "":
		r.told = note.Failure
	default:
		return false
	}
	return true
}
