package lima

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/hostagent/vmtype"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// stop asks the agent to shut down, or shortens the grace of a stop under way.
func (s *supervisor) stop(grace time.Duration) error {
	return s.update(func() (bool, error) {
		r := s.run
		if r == nil || (s.state != vm.Starting && s.state != vm.Running && s.state != vm.Stopping) {
			return false, vm.StateError(s.state)
		}
		at := time.Now().Add(max(0, grace))
		if r.stopSooner != nil {
			if at.Before(r.stopAt) {
				r.stopAt = at
				select {
				case r.stopSooner <- struct{}{}:
				default:
				}
			}
			return false, nil
		}
		sooner := make(chan struct{}, 1)
		if err := s.driver.background(func() { s.bringDown(r, sooner) }); err != nil {
			return false, err
		}
		r.stopping, r.stopAt, r.stopSooner = true, at, sooner
		s.state, s.progress = vm.Stopping, nil
		return true, nil
	})
}

// bringDown has the agent shut the VM down: it asks on the control socket, by a signal where that fails, then the guest itself,
// and ends everything by force when the grace, and what the agent needs on top, is over.
func (s *supervisor) bringDown(r *run, sooner <-chan struct{}) {
	crashpoint.At(crashpoint.StopBegun)
	for {
		s.mu.Lock()
		at := r.stopAt
		s.mu.Unlock()
		deadline := at.Add(stopMargin)
		press := time.Now()
		if s.askToStop(r, at, deadline) {
			press = press.Add(time.Until(at) / 2) // an agent that took the request may hang all the same
		}
		crashpoint.At(crashpoint.StopAsked)
		if !s.awaitDown(r, at, press, sooner) {
			return
		}
	}
}

// awaitDown waits for the end of a VM that was asked to stop, and sees to it. It tells whether the grace was shortened before.
// At press the guest is asked without its agent, unless there is no grace left.
func (s *supervisor) awaitDown(r *run, at, press time.Time, sooner <-chan struct{}) bool {
	ctx, cancel := context.WithDeadline(s.driver.ctx, at.Add(stopMargin))
	defer cancel()
	down := make(chan struct{})
	if socket := s.monitor(); press.Before(at) && socket != "" {
		_ = s.driver.background(func() {
			if s.shutDownWithoutAgent(ctx, r, socket, press) {
				close(down)
			}
		})
	}
	select {
	case <-r.exited:
	case <-sooner:
		return true
	case <-down:
		s.endHung(r)
	case <-ctx.Done():
		if s.driver.ctx.Err() == nil {
			s.endByForce(r)
		}
	}
	return false
}

// monitor is where the guest can be asked to shut down without its agent; empty where it cannot.
func (s *supervisor) monitor() string {
	rec := s.recorded()
	if rec.Instance == nil || vmtype.Of(rec.Instance.VMType).Monitor == "" {
		return ""
	}
	return filepath.Join(s.dir.Path(), vmtype.Of(rec.Instance.VMType).Monitor)
}

// shutDownWithoutAgent tells whether the guest went down. It may be down already, where the agent hangs since.
func (s *supervisor) shutDownWithoutAgent(ctx context.Context, r *run, socket string, press time.Time) bool {
	select {
	case <-time.After(time.Until(press)):
	case <-ctx.Done():
		return false
	}
	err := powerDown(ctx, socket)
	if err == nil || s.driverGone(r) {
		return true
	}
	if ctx.Err() == nil {
		s.log.Warn("cannot shut the guest down without its agent", "err", err)
	}
	return false
}

// driverGone tells whether QEMU has ended, as far as the agent has told who that is.
func (s *supervisor) driverGone(r *run) bool {
	s.mu.Lock()
	driver := r.driver
	s.mu.Unlock()
	if driver.IsZero() {
		return false
	}
	handle, err := process.Open(driver)
	if err == nil {
		_ = handle.Close()
	}
	return errors.Is(err, process.ErrGone)
}

// endHung ends an agent that does not notice that its VM is down. Nothing is lost with it.
func (s *supervisor) endHung(r *run) {
	select {
	case <-r.exited:
		return
	case <-time.After(stopMargin):
	}
	s.set(func() {
		s.notice(vm.Notice{Warning: true, Reason: "HungAgent", Message: "the agent of the VM hung, and was ended when its guest was down"})
	})
	s.endAll(r)
}

// askToStop tells whether the agent has taken the request. It leaves time for other ways where it does not answer.
func (s *supervisor) askToStop(r *run, at, deadline time.Time) bool {
	ctx, cancel := context.WithTimeout(s.driver.ctx, min(askTimeout, time.Until(deadline)/4))
	defer cancel()
	s.mu.Lock()
	apart := r.apart
	s.mu.Unlock()
	if apart {
		s.interrupt(r)
		return true
	}
	select {
	case <-r.connected:
	case <-r.exited:
		return true
	case <-ctx.Done():
		s.interrupt(r)
		return false
	}
	s.mu.Lock()
	client := r.client
	s.mu.Unlock()
	if err := client.Stop(ctx, max(0, time.Until(at))); err != nil {
		s.log.Warn("the agent did not take the request to stop", "err", err)
		s.interrupt(r)
		return false
	}
	return true
}

// interrupt is what is left to ask an agent with that does not answer.
func (s *supervisor) interrupt(r *run) {
	handle, err := process.Open(s.agentOf(r))
	if err == nil {
		defer handle.Close()
		err = handle.Interrupt()
	}
	if err != nil && !errors.Is(err, process.ErrGone) {
		s.log.Warn("cannot interrupt the agent", "err", err)
	}
}

// endByForce ends the VM while its guest is up.
func (s *supervisor) endByForce(r *run) {
	s.set(func() { r.forced = true })
	s.endAll(r)
}

// endAll ends the agent and everything that it has started. What cannot be ended now is told, and tried again until the agent is gone;
// then it is tried before the instance is told to be stopped.
func (s *supervisor) endAll(r *run) {
	for pause := retryPause; ; pause = min(2*pause, maxRetryPause) {
		err := s.endFamily(s.driver.ctx)
		if err == nil {
			return
		}
		s.log.Error("cannot end the VM", "err", err)
		s.set(func() {
			if s.run == r { // it may be over by now
				s.stopFailed(fmt.Errorf("cannot end the VM: %w", err))
			}
		})
		select {
		case <-r.exited:
			return
		case <-s.driver.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// stopFailed tells why a run is not over yet; the lock is held.
func (s *supervisor) stopFailed(err error) {
	s.state = vm.Stopping
	s.failure = s.count(&vm.Failure{During: vm.OpStop, Message: oneLine(err.Error())})
}

func (s *supervisor) agentOf(r *run) process.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.agent
}

// quiet tells whether nothing is under way and nothing lives, as far as that can be told.
func (s *supervisor) quiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.job == nil && s.run == nil && (s.state != vm.Unknown || s.unclear != nil)
}

// doubt says why it cannot be told whether the instance runs; nil when that is known.
func (s *supervisor) doubt() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unclear == nil {
		return nil
	}
	return fmt.Errorf("cannot tell whether %q runs: %w", s.name, s.unclear)
}

// drain brings the instance to where it is quiet, and tells whether it needs no further asking.
func (s *supervisor) drain(grace time.Duration) bool {
	s.mu.Lock()
	state := s.state
	if s.job != nil && s.job.during != vm.OpDelete {
		s.job.cancel(errCalledOff)
	}
	s.mu.Unlock()
	switch {
	case state == vm.Unknown:
		return false
	case state == vm.Starting, state == vm.Running, state == vm.Stopping:
		return s.stop(grace) == nil
	}
	return true
}
