package lima

import (
	"errors"
	"os"
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// ended tidies up after an agent, which includes whatever still lives of the VM, and only then says that it is stopped.
func (s *supervisor) ended(r *run) {
	for pause := retryPause; ; pause = min(2*pause, maxRetryPause) {
		err := s.tidy()
		if err == nil {
			rec := s.recorded()
			rec.Child, rec.Agent = process.Identity{}, nil
			err = s.save(rec)
		}
		if err == nil {
			break
		}
		s.set(func() {
			s.state = vm.Stopping
			s.failure = s.count(&vm.Failure{During: vm.OpStop, Message: oneLine(err.Error())})
		})
		s.log.Error("cannot tidy up after an agent", "err", err)
		select {
		case <-time.After(pause):
		case <-s.driver.ctx.Done():
			return
		}
	}
	tail, lastError := logTail(s.dir.AgentLog())
	s.set(func() { s.stopped(r, tail, lastError) })
}

// stopped settles how a run is told after it; the lock is held.
func (s *supervisor) stopped(r *run, tail []string, lastError string) {
	if r.reached && time.Since(r.runningSince) >= healthyAfter {
		s.failures = 0
	}
	failure := r.failing
	switch {
	case failure != nil:
	case r.stopping:
		s.failures = 0
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
	if failure != nil {
		failure.Message = oneLine(failure.Message)
		failure.ExitStatus, failure.LogTail = r.exitStatus, tail
		s.count(failure)
		s.log.Warn("the VM ended", "during", failure.During, "err", failure.Message, "status", r.exitStatus, "count", failure.Count)
	}
	if r.forced {
		s.notice(vm.Notice{Warning: true, Reason: "ForcedStop", Message: "the VM did not shut down within its grace period and was stopped by force"})
	}
	s.run, s.progress = nil, nil
	s.state, s.failure = vm.Stopped, failure
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
