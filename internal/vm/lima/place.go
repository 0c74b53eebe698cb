package lima

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// place is what is where the instance has its directory.
type place int

const (
	placeEmpty place = iota
	placeOurs
	placeTheirs
)

// look tells what the disk has of the instance: the record, nil when there is none, and what is in the directory's place.
func (s *supervisor) look() (*record, place, error) {
	rec, err := readRecord(s.dir)
	if err != nil {
		return nil, placeEmpty, err
	}
	exists, err := s.dir.Exists()
	if err != nil {
		return nil, placeEmpty, fmt.Errorf("cannot look for the instance's directory: %w", err)
	}
	if !exists {
		return rec, placeEmpty, nil
	}
	ours, err := s.isOurs(rec)
	if err != nil || ours {
		return rec, placeOurs, err
	}
	return rec, placeTheirs, nil
}

// isOurs tells the directory that the record is about from one that somebody else has put in its place. A creation that is not
// done has not marked it yet, and somebody who put a copy back may have left the mark out: then the template has to be ours,
// byte for byte.
func (s *supervisor) isOurs(rec *record) (bool, error) {
	if rec == nil {
		return false, nil
	}
	if owner, err := s.dir.Owner(); err != nil || owner != "" {
		return owner == rec.Owner, err
	}
	if rec.TemplateSum == "" {
		return true, nil // written by a build that left no marks
	}
	template, err := os.ReadFile(s.dir.Template())
	if isGone(err) && rec.Step == stepCreating { // the worker had not come to it, or it is not the worker's
		entries, err := os.ReadDir(s.dir.Path())
		return len(entries) == 0, err
	}
	if err != nil && !isGone(err) {
		return false, fmt.Errorf("cannot tell whose the instance's directory is: %w", err)
	}
	return err == nil && sumOf(template) == rec.TemplateSum, nil
}

// lookBefore sees that the directory is still there before an instance is used. If it is not, it returns what that leaves: the
// instance is forgotten, so that it is made anew.
func (s *supervisor) lookBefore() (vm.State, *vm.Failure, error) {
	_, place, err := s.look()
	if err != nil || place == placeOurs {
		return vm.Stopped, nil, err
	}
	state, failure := s.lost(place)
	return state, failure, nil
}

// lost forgets an instance whose directory was taken away behind our back, and tells.
func (s *supervisor) lost(place place) (vm.State, *vm.Failure) {
	err := s.forgetLost(place)
	if err != nil { // tried again before the next creation
		s.log.Error("cannot forget an instance whose directory is gone", "err", err)
	}
	state, message := vm.Absent, "somebody has removed the directory of the instance, "+s.dir.Path()+", and all that was in it"
	if place == placeTheirs {
		state, message = vm.Foreign, "somebody has put another directory in the place of the instance, "+s.dir.Path()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = 0
	s.notice(vm.Notice{Warning: true, Reason: "InstanceLost", Message: message + "; the instance is made anew"})
	return state, s.count(&vm.Failure{During: vm.OpCreate, Message: message})
}

// forgetLost removes what is left of an instance whose directory was taken away. A distribution stays, and is remembered, while another
// directory is in the place of its disk: see spareDisk.
func (s *supervisor) forgetLost(place place) error {
	if rec, err := readRecord(s.dir); err != nil || place == placeTheirs && rec != nil && rec.Distribution != "" {
		return err
	}
	if err := s.removeDistribution(s.driver.ctx); err != nil {
		return err
	}
	return forget(s.dir)
}

// inhabited says who lives in a directory that is in the way of a new instance.
type inhabited struct {
	path string
	who  []instancedir.Inhabitant
}

func (e *inhabited) Error() string {
	var all []string
	for _, who := range e.who {
		all = append(all, who.What)
	}
	return fmt.Sprintf("%s was not made by rdd and is in use, so it is left alone: %s; end that, or choose another name: the instance is "+
		"made as soon as nobody uses the directory", e.path, strings.Join(all, ", "))
}

// makeRoom clears the way for a new instance: what an earlier creation of ours could not undo goes, and what is not ours is
// moved aside, unless somebody lives there. It tells whether there is an instance of ours after all: somebody has put its record back.
func (s *supervisor) makeRoom(ctx context.Context) (back bool, err error) {
	rec, place, err := s.look()
	if err != nil {
		return false, err
	}
	if rec != nil && rec.Step == stepCreated && (place == placeOurs || rec.Agent != nil) {
		return true, nil
	}
	if rec != nil {
		s.set(func() { s.rec = *rec }) // what is left is told by the disk
		err = s.remove(ctx)
	} else {
		err = s.dir.EmptyGrave()
	}
	if err == nil {
		_, place, err = s.look()
	}
	if err == nil && place == placeTheirs {
		err = s.moveAside()
	}
	return false, err
}

// moveAside keeps what rdd did not make in the trash. Whoever comes to live there meanwhile is found by looking twice.
func (s *supervisor) moveAside() error {
	who, err := s.dir.Inhabitants()
	if err == nil && len(who) > 0 {
		err = &inhabited{s.dir.Path(), who}
	}
	if err != nil {
		return err
	}
	aside, err := s.dir.MoveAside()
	if err != nil {
		return err
	}
	crashpoint.At(crashpoint.RoomMade)
	moved := instancedir.At(aside)
	if who, err := moved.Inhabitants(); err != nil || len(who) > 0 {
		return errors.Join(err, &inhabited{s.dir.Path(), who}, os.Rename(aside, s.dir.Path()))
	}
	s.set(func() {
		s.notice(vm.Notice{Warning: true, Reason: "LeftoverMoved", Message: fmt.Sprintf(
			"%s was in the way of the instance, and rdd did not make it: it was moved to %s, whole as it was", s.dir.Path(), aside)})
	})
	return nil
}

// noRoom ends a creation that has not begun.
func (s *supervisor) noRoom(ctx context.Context, j *job, err error) {
	if s.driver.ctx.Err() != nil {
		return
	}
	failure := s.failed(j, err, childEnd{})
	if errors.Is(context.Cause(ctx), errCalledOff) {
		failure = nil
	}
	state := vm.Absent
	if _, place, err := s.look(); err != nil || place == placeTheirs {
		state = vm.Foreign
	}
	inhabitants := (*inhabited)(nil)
	if errors.As(err, &inhabitants) && failure != nil {
		watching, cancel := context.WithCancel(s.driver.ctx)
		s.mu.Lock()
		s.unwatch = cancel
		s.mu.Unlock()
		_ = s.driver.background(func() { s.awaitRoom(watching, inhabitants.who) })
	}
	s.finish(state, failure)
}

// awaitRoom waits until nobody lives in the directory that is in the way, and announces it.
func (s *supervisor) awaitRoom(ctx context.Context, who []instancedir.Inhabitant) {
	for pause := time.Second; ; pause = min(2*pause, maxRetryPause) {
		s.awaitEnds(ctx, who, pause)
		if ctx.Err() != nil {
			return
		}
		found, err := s.dir.Inhabitants()
		if err == nil && len(found) == 0 {
			break
		}
		who = found
	}
	_ = s.update(func() (bool, error) {
		changed := ctx.Err() == nil && s.state == vm.Foreign
		if changed {
			s.failure, s.failures = nil, 0
		}
		return changed, nil
	})
}

// awaitEnds returns when all processes of who have ended, or after the pause: somebody may go without ending.
func (s *supervisor) awaitEnds(ctx context.Context, who []instancedir.Inhabitant, pause time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	known := false
	for _, inhabitant := range who {
		handle, err := process.Open(inhabitant.Process)
		if err != nil {
			continue
		}
		known = true
		_ = handle.Wait(ctx)
		_ = handle.Close()
	}
	if !known {
		<-ctx.Done()
	}
}
