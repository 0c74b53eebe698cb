package lima

import (
	"errors"
	"os"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// ended tidies up after an agent, which includes whatever still lives of the VM, and only then says that it is stopped. Why it
// ended is in the record before anybody is told.
func (s *supervisor) ended(r *run) {
	tail, lastError := logTail(s.dir.AgentLog())
	s.mu.Lock()
	failure, failures := s.outcome(r, tail, lastError)
	s.mu.Unlock()
	for pause := retryPause; ; pause = min(2*pause, maxRetryPause) {
		crashpoint.At(crashpoint.EndSeen)
		err := s.tidy()
		crashpoint.At(crashpoint.EndTidied)
		if err == nil {
			rec := s.recorded()
			rec.Child, rec.Agent, rec.Failure, rec.Failures = process.Identity{}, nil, failure, failures
			err = s.save(rec)
		}
		if err == nil {
			break
		}
		s.log.Error("cannot tidy up after an agent", "err", err)
		s.set(func() { s.stopFailed(err) })
		select {
		case <-time.After(pause):
		case <-s.driver.ctx.Done():
			return
		}
	}
	crashpoint.At(crashpoint.EndRecorded)
	s.set(func() { s.stopped(r, failure, failures) })
}

// notBegun ends a run that was never more than the wish for one.
func (s *supervisor) notBegun(r *run, err error) {
	r.told = err.Error()
	close(r.exited)
	s.set(func() {
		failure, failures := s.outcome(r, nil, "")
		s.stopped(r, failure, failures)
	})
}

// outcome tells why a run failed, nil if it did not, and how many have failed in a row by now; the lock is held.
func (s *supervisor) outcome(r *run, tail []string, lastError string) (*vm.Failure, int) {
	failures := s.failures
	if r.reached && time.Since(r.runningSince) >= healthyAfter {
		failures = 0
	}
	failure := r.failing
	switch {
	case failure != nil:
	case r.stopping:
		return nil, 0
	default:
		failure = &vm.Failure{During: vm.OpStart, Message: r.told}
		if r.reached {
			failure.During = vm.OpRun
		}
		if failure.Message == "" {
			failure.Message = lastError
		}
		if failure.Message == "" {
			failure.Message = "the agent ended unexpectedly"
		}
	}
	failures++
	failure.Message = oneLine(failure.Message)
	failure.ExitStatus, failure.LogTail, failure.Count, failure.At = r.exitStatus, tail, failures, time.Now()
	return failure, failures
}

// stopped settles how a run is told after it; the lock is held.
func (s *supervisor) stopped(r *run, failure *vm.Failure, failures int) {
	if failure != nil {
		s.log.Warn("the VM ended", "during", failure.During, "err", failure.Message, "status", r.exitStatus, "count", failure.Count)
	}
	if r.forced {
		s.notice(vm.Notice{Warning: true, Reason: "ForcedStop", Message: "the VM did not shut down within its grace period and was stopped by force"})
	}
	s.run, s.progress = nil, nil
	s.state, s.failure, s.failures = vm.Stopped, failure, failures
}

// tidy ends what still lives of the instance, and removes what a run leaves behind.
func (s *supervisor) tidy() error {
	if err := s.endFamily(s.driver.ctx); err != nil {
		return err
	}
	if err := s.endDistribution(s.driver.ctx); err != nil {
		return err
	}
	notices, err := s.dir.Clear(process.Identity{})
	if len(notices) > 0 {
		s.set(func() {
			for _, n := range notices {
				s.notice(n)
			}
		})
	}
	ledger := os.Remove(s.dir.Ledger())
	if isGone(ledger) {
		ledger = nil
	}
	return errors.Join(err, s.dir.RemoveControlSocket(), ledger)
}
