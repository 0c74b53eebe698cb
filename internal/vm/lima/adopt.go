package lima

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

const (
	// adoptTimeout is how long an agent of an earlier daemon has to prove who it is.
	adoptTimeout = 10 * time.Second
	// replaceGrace is what one gets that does not: it may still be able to shut its VM down.
	replaceGrace = 30 * time.Second
)

// leftover is what an earlier daemon has left of an instance.
type leftover struct {
	rec   *record
	place place
	agent *process.Handle // nil when the record has none, or it is gone
}

// load looks at what an earlier daemon has left of the instance, and takes it over, finishes it or undoes it. While that cannot
// be seen it looks again and again.
func (s *supervisor) load() {
	left, err := s.find()
	for pause := time.Second; err != nil; pause = min(2*pause, maxRetryPause) {
		s.unclearBecause(err)
		if !s.rest(pause) {
			return
		}
		left, err = s.find()
	}
	rec := left.rec
	if rec == nil {
		s.clear(record{})
		if err := s.dir.EmptyGrave(); err != nil {
			s.log.Warn("cannot delete what is left of an instance", "err", err) // tried again before the next creation
		}
	} else {
		s.clear(*rec)
	}
	switch {
	case rec == nil && left.place != placeEmpty:
		s.settle(vm.Foreign, nil)
	case rec == nil:
		s.settle(vm.Absent, nil)
	case rec.Step != stepCreated:
		s.known()
		s.undo(rec)
	case rec.Agent != nil:
		s.known()
		s.adopt(left)
	case left.place != placeOurs:
		state, failure := s.lost(left.place)
		s.set(func() { s.rec = record{} })
		s.settle(state, failure)
	default:
		s.settle(vm.Stopped, rec.Failure)
	}
}

// find sees what is left. An agent is gone when that is seen, and not when it cannot be looked for: its VM may well run.
func (s *supervisor) find() (leftover, error) {
	rec, place, err := s.look()
	left := leftover{rec: rec, place: place}
	if err != nil || rec == nil || rec.Step != stepCreated || rec.Agent == nil {
		return left, err
	}
	left.agent, err = process.Open(rec.Child)
	if errors.Is(err, process.ErrGone) {
		return left, nil
	}
	return left, err
}

// rest waits before another look, unless somebody asks for it. It tells whether there is to be one.
func (s *supervisor) rest(pause time.Duration) bool {
	select {
	case <-time.After(pause):
	case <-s.again:
	case <-s.driver.ctx.Done():
		return false
	}
	return true
}

// clear goes on from what was found, now that it can be seen.
func (s *supervisor) clear(rec record) {
	grace := readGrace(s.dir)
	s.set(func() { s.rec, s.grace, s.unclear, s.failure, s.failures = rec, grace, nil, nil, rec.Failures })
}

// unclearBecause tells why it cannot be seen what there is. A record that was read and proves nothing makes what it is about
// Foreign; one that could not be read may well be of a VM that runs.
func (s *supervisor) unclearBecause(err error) {
	s.log.Error("cannot tell what there is of the instance; it is left alone", "err", err)
	s.set(func() {
		s.unclear = err
		if errors.Is(err, errUnusableRecord) {
			s.state = vm.Foreign
		}
		s.failure = s.count(&vm.Failure{During: vm.OpCreate, Message: oneLine(err.Error())})
	})
	s.known()
}

// lookAgain has load look at once, if it cannot see what is on disk; the lock is held. It tells whether that is so.
func (s *supervisor) lookAgain() bool {
	if s.unclear == nil {
		return false
	}
	select {
	case s.again <- struct{}{}:
	default: // it is about to
	}
	return true
}

// known lets requests in: what is on disk is known as well as it can be.
func (s *supervisor) known() { s.lookedOnce.Do(func() { close(s.looked) }) }

// settle ends the look at the disk.
func (s *supervisor) settle(state vm.State, failure *vm.Failure) {
	s.set(func() { s.state, s.failure = state, failure })
	s.known()
}

// undo removes an instance that was not made, or not removed, to the end.
func (s *supervisor) undo(rec *record) {
	err := s.remove(s.driver.ctx)
	switch {
	case s.driver.ctx.Err() != nil:
	case err == nil:
		s.set(func() {
			s.rec, s.state = record{}, vm.Absent
			s.notice(vm.Notice{Reason: "LeftoverRemoved", Message: "removed what an interrupted daemon had left while it was " + string(rec.Step) + " the instance"})
		})
	case rec.Step == stepDeleting:
		s.takeBack()
		j := &job{during: vm.OpDelete}
		s.finish(vm.Stopped, s.failed(j, err, childEnd{}))
	default: // tried again before the next creation
		j := &job{during: vm.OpCreate}
		s.finish(vm.Absent, s.failed(j, err, childEnd{}))
	}
}

// adopt takes an agent over that an earlier daemon has started, if it lives and can prove who it is.
func (s *supervisor) adopt(left leftover) {
	r := newRun(left.rec.Child, *left.rec.Agent)
	r.adopted = true
	handle := left.agent
	if handle == nil {
		s.diedUnwatched(r)
		return
	}
	defer handle.Close()
	go func() {
		if handle.Wait(s.driver.ctx) == nil {
			close(r.exited)
		}
	}()
	s.set(func() { s.run = r })
	crashpoint.At(crashpoint.AdoptOpened)
	state, err := s.greet(r)
	if isShortage(err) {
		state, err = s.greetLater(r, left, err)
	}
	crashpoint.At(crashpoint.AdoptGreeted)
	switch {
	case s.driver.ctx.Err() != nil:
		return
	case err == nil:
		s.adopted(r, state)
	case errors.Is(err, control.ErrIncompatible):
		s.keepApart(r, err)
	case !handle.Alive():
		s.diedUnwatched(r)
		return
	default:
		s.log.Warn("an agent of an earlier daemon cannot be adopted; it is replaced", "agent", r.agent, "err", err)
		s.set(func() {
			r.failing = &vm.Failure{During: vm.OpRun, Message: "the agent did not answer the new daemon: " + err.Error()}
			s.state = vm.Running
		})
		_ = s.stop(replaceGrace)
	}
	s.attendRun(r, func(ctx context.Context) { s.follow(ctx, r) })
}

// greetLater greets again and again while we cannot, for the reason given. As long as that is so nothing is known of the VM.
func (s *supervisor) greetLater(r *run, left leftover, reason error) (state control.State, err error) {
	err = reason
	for pause := time.Second; isShortage(err) && left.agent.Alive(); pause = min(2*pause, maxRetryPause) {
		s.unclearBecause(err)
		if !s.rest(pause) {
			return state, err
		}
		state, err = s.greet(r)
	}
	s.clear(*left.rec)
	return state, err
}

// isShortage tells that it is us who could not ask, which says nothing about whoever was to be asked.
func isShortage(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, fs.ErrPermission},
		func(ours error) bool { return errors.Is(err, ours) })
}

// greet shakes hands with an agent that may still be opening its socket.
func (s *supervisor) greet(r *run) (control.State, error) {
	ctx, cancel := context.WithTimeout(s.driver.ctx, adoptTimeout)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		client, err := control.Dial(ctx, s.dir.ControlSocket(), s.dir.Name, r.agent, r.record.Token)
		if err == nil {
			state, err := client.State(ctx)
			client.Close()
			s.tellOld(client.Protocol())
			return state, err
		}
		if errors.Is(err, control.ErrNotOurs) || errors.Is(err, control.ErrIncompatible) {
			return control.State{}, err
		}
		select {
		case <-time.After(pause):
		case <-r.exited:
			return control.State{}, err
		case <-ctx.Done():
			return control.State{}, err
		}
	}
}

// adopted goes on from where the agent is. Its journal is replayed by follow; what was told to the earlier daemon is not
// told again.
func (s *supervisor) adopted(r *run, state control.State) {
	s.set(func() {
		r.driver, r.sshPort, r.quietUntil = state.Driver, state.SSHPort, state.Offset
		switch state.Phase {
		case control.Running:
			r.reached, r.runningSince, r.degraded = true, state.RunningSince, state.Errors
			if r.runningSince.IsZero() {
				r.runningSince = time.Now()
			}
			s.state = vm.Running
		case control.Stopping:
			r.stopping = true
			s.state = vm.Stopping
		default:
			s.state = vm.Starting
			s.progress = &vm.Progress{Stage: "Starting", Percent: -1}
		}
	})
}

// tellOld says what an agent of an older build cannot do.
func (s *supervisor) tellOld(protocol int) {
	lacks := control.Lacks(protocol)
	if len(lacks) == 0 {
		return
	}
	s.set(func() {
		s.notice(vm.Notice{Reason: "OldAgent", Message: fmt.Sprintf("the agent of the VM is of an older build (protocol %d, where this one "+
			"speaks %d). It does not %s. Restart the VM, when that suits you, to have a new one", protocol, control.Protocol, strings.Join(lacks, "; nor "))})
	})
}

// keepApart keeps the VM of an agent that is ours and speaks no protocol of ours. Its journal tells what it is doing; whether it
// lives is known by its identity, and it can be asked to stop by a signal.
func (s *supervisor) keepApart(r *run, err error) {
	s.log.Warn("an agent of another build is seen by its identity only", "agent", r.agent, "err", err)
	events := journalOf(s.dir)
	s.set(func() {
		for _, event := range events {
			r.replay(event)
		}
		r.apart, r.reached = true, true
		if r.runningSince.IsZero() {
			r.runningSince = time.Now()
		}
		r.degraded = []string{"the VM goes on, but its agent cannot be talked to, so that nothing is seen of it but whether it lives: " +
			err.Error() + "; restart the VM, when that suits you, to have a new agent"}
		s.state = vm.Running
		if r.stopping {
			s.state = vm.Stopping
		}
	})
}

// diedUnwatched settles the end of an agent that no daemon has seen, from what its journal tells.
func (s *supervisor) diedUnwatched(r *run) {
	events := journalOf(s.dir)
	earlier, err := r.agent.OfEarlierBoot()
	s.set(func() { // r may be the present run already
		if err == nil && earlier {
			r.stopping = true // the machine was started anew: the VM did nothing wrong
		}
		for _, event := range events {
			r.replay(event)
		}
		if r.told == "" {
			r.told = "the agent died while no daemon was watching"
		}
		r.agent = process.Identity{} // nobody
	})
	s.ended(r)
}

// journalOf returns what an agent that is gone has told, as far as it can be read.
func journalOf(dir instancedir.Dir) (events []control.Event) {
	file, err := os.Open(dir.Journal())
	if err != nil {
		return nil
	}
	defer file.Close()
	_, _ = control.ReadEntries(file, 0, func(entry control.Entry) error {
		var event control.Event
		if json.Unmarshal(entry.Event, &event) == nil {
			events = append(events, event)
		}
		return nil
	})
	return events
}

// replay is take for an agent that is gone.
func (r *run) replay(event control.Event) {
	if event.Status.Running && !r.reached {
		r.reached, r.runningSince = true, event.Time
	}
	if event.Status.SSHLocalPort != 0 {
		r.sshPort = event.Status.SSHLocalPort
	}
	if note := event.RDD; note != nil {
		if note.Driver != nil {
			r.driver = *note.Driver
		}
		r.stopping = r.stopping || note.Stopping
		if note.Failure != "" {
			r.told = note.Failure
		}
	}
}
