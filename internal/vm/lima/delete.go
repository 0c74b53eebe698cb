package lima

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/vm"
)

func (s *supervisor) delete() error {
	return s.update(func() (bool, error) {
		switch {
		case s.state == vm.Deleting:
			return false, nil
		case s.job != nil: // Creating, or a template is being applied: call it off
			s.job.discard = true
			s.job.cancel(errCalledOff)
			s.state, s.progress = vm.Deleting, nil
			return true, nil
		case s.state != vm.Stopped:
			return false, vm.StateError(s.state)
		}
		if err := s.begin(vm.OpDelete, vm.Spec{}, s.doDelete); err != nil {
			return false, err
		}
		s.state = vm.Deleting
		return true, nil
	})
}

func (s *supervisor) doDelete(ctx context.Context, j *job) {
	s.mu.Lock()
	j.during, j.spec = vm.OpDelete, vm.Spec{}
	s.mu.Unlock()
	err := s.protected()
	if err == nil {
		err = s.beginDeletion()
	}
	if err == nil {
		err = s.remove(ctx)
	}
	switch {
	case s.driver.ctx.Err() != nil: // the next driver goes on
	case err != nil:
		s.takeBack()
		s.finish(vm.Stopped, s.failed(j, err, childEnd{}))
	default:
		crashpoint.At(crashpoint.DeleteDone)
		s.finish(vm.Absent, nil)
	}
}

// protected fails for an instance that "limactl protect" has marked: its worker would refuse, when the deletion is recorded already.
func (s *supervisor) protected() error {
	_, place, err := s.look()
	if err != nil || place != placeOurs {
		return nil //nolint:nilerr // what cannot be seen is found by whoever comes to it
	}
	if _, err := os.Lstat(filepath.Join(s.dir.Path(), "protected")); err != nil {
		return nil //nolint:nilerr // it is not there, or the worker finds it
	}
	return errors.New("the instance is protected from deletion: run \"limactl unprotect\" first")
}

// beginDeletion records that the instance is about to be deleted.
func (s *supervisor) beginDeletion() error {
	rec := s.recorded()
	rec.Step = stepDeleting
	crashpoint.At(crashpoint.DeleteBegun)
	err := s.save(rec)
	crashpoint.At(crashpoint.DeleteRecorded)
	if err != nil {
		return s.buryUnrecorded(err)
	}
	return nil
}

// takeBack notes that a deletion has failed before anything was lost: the directory goes all at once, and is still there. Whoever has
// changed their mind can use the instance again, and no later daemon deletes it unasked. Of a distribution that is not known.
func (s *supervisor) takeBack() {
	found, place, err := s.look()
	if err != nil || found == nil || place != placeOurs || found.Step != stepDeleting || found.Distribution != "" {
		return
	}
	rec := s.recorded()
	if !rec.Child.IsZero() {
		return // a worker that could not be ended may go on
	}
	rec.Step = stepCreated
	if err := s.save(rec); err != nil {
		s.log.Warn("cannot take a deletion back that has failed", "err", err)
	}
}

// buryUnrecorded begins a deletion that cannot be recorded, for the reason given. The disk may be full, and what is deleted here
// makes the room that people want when they delete a VM. A daemon that dies meanwhile has the next one find that the directory
// is gone.
func (s *supervisor) buryUnrecorded(reason error) error {
	_, place, err := s.look()
	if err == nil && place == placeOurs {
		_, err = s.dir.Bury()
	}
	if err == nil {
		err = s.dir.EmptyGrave()
	}
	if err != nil {
		return errors.Join(reason, err)
	}
	return nil
}

// remove ends what lives of the instance, and removes it from disk if it is ours. It can be repeated: what a worker that died
// had not deleted yet is buried, and goes with the record.
func (s *supervisor) remove(ctx context.Context) error {
	if err := s.endFamily(ctx); err != nil {
		return err
	}
	if err := s.spareDisk(); err != nil {
		return err
	}
	if err := s.removeDistribution(ctx); err != nil {
		return err
	}
	_, place, err := s.look()
	if err != nil {
		return err
	}
	if place == placeOurs {
		if _, err := s.work(ctx, "delete", nil); err != nil {
			return err
		}
	}
	crashpoint.At(crashpoint.DeleteWorked)
	return forget(s.dir)
}
