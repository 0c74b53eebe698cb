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
// ended is in the record before anybody is told, unless nothing can be written: then the VM can be deleted, which may make room.
func (s *supervisor) ended(r *run) {
	tail, lastError := logTail(s.dir.AgentLog())
	s.mu.Lock()
	failure, failures := s.outcome(r, tail, lastError)
	s.mu.Unlock()
	crashpoint.At(crashpoint.EndSeen)
	for pause := retryPause; ; pause = min(2*pause, maxRetryPause) {
		err := s.tidy()
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
	crashpoint.At(crashpoint.EndTidied)
	rec := s.recorded()
	rec.Child, rec.Agent, rec.Failure, rec.Failures = process.Identity{}, nil, failure, failures
	if err := s.save(rec); err != nil {
		s.log.Error("cannot record the end of an agent", "err", err)
		s.keep(rec)
	}
	crashpoint.At(crashpoint.EndRecorded)
	s.set(func() { s.stopped(r, failure, failures) })
}

// keep goes on with a record that could not be written, and writes it as soon as that is possible. Until then the disk names an agent
// that is gone, which the next daemon can live with.
func (s *supervisor) keep(rec record) {
	s.mu.Lock()
	s.rec, s.unsaved = rec, &rec
	s.mu.Unlock()
	_ = s.driver.background(func() {
		for pause := retryPause; s.saveKept(&rec) != nil; pause = min(2*pause, maxRetryPause) {
			select {
			case <-time.After(pause):
			case <-s.driver.ctx.Done():
				return
			}
		}
	})
}

// errBusy says that something is under way that may write a newer record.
var errBusy = errors.New("the instance is in use")

// saveKept writes a record that was kept, unless a newer one was written before.
func (s *supervisor) saveKept(kept *record) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	overtaken, busy := s.unsaved != kept, s.state != vm.Stopped || s.job != nil || s.run != nil
	s.mu.Unlock()
	switch {
	case overtaken:
		return nil
	case busy:
		return errBusy
	}
	err := kept.write(s.dir)
	if err == nil {
		s.mu.Lock()
		s.unsaved = nil
		s.mu.Unlock()
	}
	return err
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
