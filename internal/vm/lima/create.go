package lima

import (
	"context"
	"errors"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/vm"
)

func (s *supervisor) create(spec vm.Spec) error {
	return s.update(func() (bool, error) {
		switch {
		case s.state == vm.Creating && s.job.spec.Owner == spec.Owner && !s.job.discard:
			return false, nil // joins, also with another template: that one is applied next
		case s.lookAgain():
			return false, nil
		case s.state != vm.Absent && s.state != vm.Foreign:
			return false, vm.StateError(s.state)
		case spec.Owner == "" || spec.TemplateVersion == "" || len(spec.Template) == 0:
			return false, errors.New("owner, template and its version must be given")
		}
		if err := s.begin(vm.OpCreate, spec, s.doCreate); err != nil {
			return false, err
		}
		if s.unwatch != nil {
			s.unwatch()
		}
		s.state = vm.Creating
		return true, nil
	})
}

func (s *supervisor) doCreate(ctx context.Context, j *job) {
	back, err := s.makeRoom(ctx)
	switch {
	case err != nil:
		s.noRoom(ctx, j, err)
	case back: // and it may run: it is taken up as by a daemon that starts
		s.set(func() { s.job, s.progress, s.state, s.rec = nil, nil, vm.Unknown, record{} })
		s.load()
	default:
		s.make(ctx, j)
	}
}

// make makes the instance where nothing is.
func (s *supervisor) make(ctx context.Context, j *job) {
	rec := record{Step: stepCreating, Owner: j.spec.Owner, TemplateSum: sumOf(j.spec.Template)}
	end := childEnd{}
	crashpoint.At(crashpoint.CreateBegun)
	err := s.save(rec)
	crashpoint.At(crashpoint.CreateRecorded)
	if err == nil {
		err = s.readyKeys()
	}
	if err == nil {
		end, err = s.work(ctx, "create", j.spec.Template)
	}
	if err == nil {
		crashpoint.At(crashpoint.CreateWorked)
		err = s.dir.Mark(rec.Owner)
	}
	if err == nil {
		rec.Step, rec.TemplateVersion, rec.Instance = stepCreated, j.spec.TemplateVersion, end.instance
		err = s.save(rec)
		crashpoint.At(crashpoint.CreateDone)
	}
	if err == nil && !s.isDiscarded(j) {
		s.finish(vm.Stopped, nil)
		return
	}
	if s.driver.ctx.Err() != nil {
		return // closed: the next driver finds the record and undoes it
	}
	failure := s.failed(j, err, end)
	if undone := s.remove(s.driver.ctx); undone != nil {
		s.log.Error("cannot undo a creation", "err", undone) // tried again before the next one
	}
	if errors.Is(context.Cause(ctx), errCalledOff) {
		failure = nil
	}
	s.finish(vm.Absent, failure)
}

// readyKeys sees to it that there are ssh keys before Lima looks for them.
func (s *supervisor) readyKeys() error {
	notices, err := s.driver.keys.ensure()
	if len(notices) > 0 {
		s.set(func() {
			for _, n := range notices {
				s.notice(n)
			}
		})
	}
	return err
}
