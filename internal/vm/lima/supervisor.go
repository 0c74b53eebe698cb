package lima

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// supervisor is all that is known of one instance, and the only one that changes it. Events are methods: each takes the
// lock, looks at the state, acts and moves on. What takes time is done outside of the lock, by at most one job at a time.
type supervisor struct {
	driver *Driver
	name   string // of the VM; dir has Lima's
	dir    instancedir.Dir
	log    *slog.Logger
	looked chan struct{} // closed when load has looked at the disk

	mu       sync.Mutex
	state    vm.State
	rec      record // as on disk; the zero value when there is none
	job      *job
	run      *run
	progress *vm.Progress
	notices  []vm.Notice
	failure  *vm.Failure
	failures int // in a row
}

// job is work on an instance that does not run: create, apply, delete.
type job struct {
	during  vm.Operation
	spec    vm.Spec
	cancel  context.CancelCauseFunc
	discard bool // delete the instance afterwards, whatever comes out
}

// maxNotices bounds what waits for an Observe that nobody makes.
const maxNotices = 100

// healthyAfter is how long a VM has to run for its earlier failures to be forgiven.
const healthyAfter = 10 * time.Minute

// errCalledOff is the cause of a job that somebody else made pointless.
var errCalledOff = errors.New("it was called off")

func newSupervisor(d *Driver, name string) *supervisor {
	return &supervisor{
		driver: d, name: name, dir: instancedir.Dir{Home: d.cfg.Home, Name: name + d.cfg.Suffix}, log: d.cfg.Log.With("instance", name),
		looked: make(chan struct{}), state: vm.Unknown,
	}
}

// observe hands out copies, and each notice once.
func (s *supervisor) observe() vm.Observed {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := vm.Observed{State: s.state, Notices: s.notices}
	s.notices = nil
	if s.failure != nil {
		failure := *s.failure
		got.Failure = &failure
	}
	if s.progress != nil {
		progress := *s.progress
		got.Progress = &progress
	}
	if s.state == vm.Absent || s.state == vm.Foreign {
		return got
	}
	got.Owner, got.TemplateVersion = s.rec.Owner, s.rec.TemplateVersion
	if s.rec.Instance != nil {
		instance := *s.rec.Instance
		got.Instance = &instance
	}
	if s.run != nil {
		got.Host = s.run.host()
		got.Degraded = slices.Clone(s.run.degraded)
		if got.Instance != nil {
			got.Instance.SSHPort = s.run.sshPort
		}
	}
	return got
}

// update changes the supervisor under its lock, and announces it if change says that there was one.
func (s *supervisor) update(change func() (changed bool, err error)) error {
	s.mu.Lock()
	changed, err := change()
	s.mu.Unlock()
	if changed {
		s.driver.notify(s.name)
	}
	return err
}

func (s *supervisor) set(change func()) {
	_ = s.update(func() (bool, error) {
		change()
		return true, nil
	})
}

func refusal(state vm.State) error { return fmt.Errorf("it is %s", state) }

// background runs do unless the driver is closed.
func (d *Driver) background(do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	d.work.Go(do)
	return nil
}

// begin starts a job; the lock is held.
func (s *supervisor) begin(during vm.Operation, spec vm.Spec, do func(ctx context.Context, j *job)) error {
	ctx, cancel := context.WithCancelCause(s.driver.ctx)
	j := &job{during: during, spec: spec, cancel: cancel}
	err := s.driver.background(func() {
		defer cancel(nil)
		do(ctx, j)
	})
	if err != nil {
		cancel(err)
		return err
	}
	s.job = j
	s.progress = nil
	return nil
}

func (s *supervisor) create(spec vm.Spec) error {
	return s.update(func() (bool, error) {
		switch {
		case s.state == vm.Creating && s.job.spec.Owner == spec.Owner && !s.job.discard:
			return false, nil // joins, also with another template: that one is applied next
		case s.state != vm.Absent:
			return false, refusal(s.state)
		case spec.Owner == "" || spec.TemplateVersion == "" || len(spec.Template) == 0:
			return false, errors.New("owner, template and its version must be given")
		}
		if err := s.begin(vm.OpCreate, spec, s.doCreate); err != nil {
			return false, err
		}
		s.state = vm.Creating
		s.rec.Owner = spec.Owner
		return true, nil
	})
}

func (s *supervisor) doCreate(ctx context.Context, j *job) {
	if err := s.clearTheWay(ctx); err != nil {
		s.finish(vm.Absent, s.failed(j, err, childEnd{}))
		return
	}
	if exists, err := s.dir.Exists(); err != nil || exists {
		s.finish(vm.Foreign, nil)
		return
	}
	rec := record{Step: stepCreating, Owner: j.spec.Owner, TemplateSum: sumOf(j.spec.Template)}
	end := childEnd{}
	err := s.save(rec)
	if err == nil {
		err = s.readyKeys()
	}
	if err == nil {
		end, err = s.work(ctx, "create", j.spec.Template)
	}
	if err == nil {
		rec.Step, rec.TemplateVersion, rec.Instance = stepCreated, j.spec.TemplateVersion, end.instance
		err = s.save(rec)
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

// clearTheWay removes what an earlier creation of ours has left and could not undo.
func (s *supervisor) clearTheWay(ctx context.Context) error {
	rec, err := readRecord(s.dir)
	if err != nil || rec == nil {
		return err
	}
	return s.remove(ctx)
}

func (s *supervisor) apply(spec vm.Spec) error {
	return s.update(func() (bool, error) {
		switch {
		case s.state != vm.Stopped || s.rec.Step != stepCreated:
			return false, refusal(s.state)
		case spec.Owner != s.rec.Owner:
			return false, errors.New("it belongs to somebody else")
		case s.job != nil && s.job.during == vm.OpApply && s.job.spec.TemplateVersion == spec.TemplateVersion:
			return false, nil
		case s.job != nil:
			return false, errors.New("another template is being applied")
		}
		return true, s.begin(vm.OpApply, spec, s.doApply)
	})
}

func (s *supervisor) doApply(ctx context.Context, j *job) {
	end, err := s.work(ctx, "apply", j.spec.Template)
	if err == nil {
		rec := s.recorded()
		rec.TemplateVersion, rec.TemplateSum, rec.Instance = j.spec.TemplateVersion, sumOf(j.spec.Template), end.instance
		err = s.save(rec)
	}
	if s.driver.ctx.Err() != nil {
		return
	}
	if s.isDiscarded(j) {
		s.doDelete(s.driver.ctx, j)
		return
	}
	if err != nil {
		s.finish(vm.Stopped, s.failed(j, err, end))
		return
	}
	s.finish(vm.Stopped, nil)
}

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
			return false, refusal(s.state)
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
	rec := s.recorded()
	rec.Step = stepDeleting
	err := s.save(rec)
	if err == nil {
		err = s.remove(ctx)
	}
	switch {
	case s.driver.ctx.Err() != nil: // the next driver goes on
	case err != nil:
		s.finish(vm.Stopped, s.failed(j, err, childEnd{}))
	default:
		s.finish(vm.Absent, nil)
	}
}

// remove ends what lives of the instance, and removes it from disk if it is ours. It can be repeated.
func (s *supervisor) remove(ctx context.Context) error {
	if err := s.endFamily(ctx); err != nil {
		return err
	}
	if err := s.removeDistribution(ctx); err != nil {
		return err
	}
	exists, err := s.dir.Exists()
	if err != nil {
		return fmt.Errorf("cannot look for the instance's directory: %w", err)
	}
	if exists && s.isOurs() {
		if _, err := s.work(ctx, "delete", nil); err != nil {
			return err
		}
	}
	return forget(s.dir)
}

// isOurs tells a directory that our worker made from one that somebody else put there while we had not begun yet.
func (s *supervisor) isOurs() bool {
	rec, err := readRecord(s.dir)
	if err != nil || rec == nil {
		return false
	}
	if rec.Step != stepCreating {
		return true
	}
	template, err := os.ReadFile(s.dir.Template())
	return isGone(err) || (err == nil && sumOf(template) == rec.TemplateSum)
}

// finish ends a job.
func (s *supervisor) finish(state vm.State, failure *vm.Failure) {
	s.set(func() {
		s.job, s.progress = nil, nil
		s.state, s.failure = state, failure
		switch {
		case failure == nil:
			s.failures = 0
		default:
			s.log.Warn("operation failed", "operation", failure.During, "err", failure.Message, "count", failure.Count)
		}
		if state == vm.Absent {
			s.rec = record{}
		}
	})
}

// failed makes the failure of a job.
func (s *supervisor) failed(j *job, err error, end childEnd) *vm.Failure {
	if err == nil {
		err = errCalledOff
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil || s.failure.During != j.during || s.failure.TemplateVersion != j.spec.TemplateVersion {
		s.failures = 0
	}
	return s.count(&vm.Failure{
		During: j.during, Message: oneLine(err.Error()), TemplateVersion: j.spec.TemplateVersion,
		ExitStatus: end.status, LogTail: end.log,
	})
}

// count completes a failure; the lock is held.
func (s *supervisor) count(failure *vm.Failure) *vm.Failure {
	s.failures++
	failure.Count, failure.At = s.failures, time.Now()
	return failure
}

func (s *supervisor) isDiscarded(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.discard
}

func (s *supervisor) recorded() record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

// save writes the record, and keeps it when that is done: nothing in memory may contradict the disk.
func (s *supervisor) save(rec record) error {
	if err := rec.write(s.dir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec = rec
	return nil
}

// notice keeps something to be told once; the lock is held.
func (s *supervisor) notice(n vm.Notice) {
	if len(s.notices) < maxNotices {
		s.notices = append(s.notices, n)
	}
}
