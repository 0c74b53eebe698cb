package lima

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// supervisor is all that is known of one instance, and the only one that changes it. Events are methods: each takes the
// lock, looks at the state, acts and moves on. What takes time is done outside of the lock, by at most one job at a time.
type supervisor struct {
	driver     *Driver
	name       string // of the VM; dir has Lima's
	dir        instancedir.Dir
	log        *slog.Logger
	looked     chan struct{} // closed when load has looked at the disk
	lookedOnce sync.Once
	again      chan struct{} // sent to when load, which could not see whose the instance is, shall look again
	saving     sync.Mutex    // held while the record is written; never taken under mu

	mu       sync.Mutex
	state    vm.State
	rec      record  // as on disk, unless unsaved; the zero value when there is none
	unsaved  *record // what the disk should have, and could not take; nil when it has
	job      *job
	run      *run
	progress *vm.Progress
	notices  []vm.Notice
	failure  *vm.Failure
	failures int                // in a row
	grace    time.Duration      // as noted on disk; 0 when none is
	unclear  error              // why it cannot be told what is on disk; nil when it is known
	unwatch  context.CancelFunc // ends the watch of who lives in a directory that is in the way; nil when there is none
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
		looked: make(chan struct{}), again: make(chan struct{}, 1), state: vm.Unknown,
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
	if s.job != nil && s.job.during == vm.OpCreate { // the record may still be that of what is in its way
		got.Owner = s.job.spec.Owner
		return got
	}
	got.Owner, got.TemplateVersion, got.Grace = s.rec.Owner, s.rec.TemplateVersion, s.grace
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

// background runs do unless the driver is closed.
func (d *Driver) background(do func()) error { return d.run(false, do) }

// run is background; what begins something is refused while draining. That is looked at under the lock under which do is let through:
// Drain, which looks at every supervisor after it, finds what do is about.
func (d *Driver) run(begins bool, do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refuses(begins); err != nil {
		return err
	}
	d.work.Go(do)
	return nil
}

// begin starts a job; the lock is held.
func (s *supervisor) begin(during vm.Operation, spec vm.Spec, do func(ctx context.Context, j *job)) error {
	ctx, cancel := context.WithCancelCause(s.driver.ctx)
	j := &job{during: during, spec: spec, cancel: cancel}
	err := s.driver.run(during == vm.OpCreate, func() {
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

func (s *supervisor) apply(spec vm.Spec) error {
	return s.update(func() (bool, error) {
		switch {
		case s.state != vm.Stopped || s.rec.Step != stepCreated:
			return false, vm.StateError(s.state)
		case spec.Owner != s.rec.Owner:
			return false, errors.New("it belongs to somebody else")
		case s.job != nil && s.job.during == vm.OpApply && s.job.spec.TemplateVersion == spec.TemplateVersion:
			return false, nil
		case s.job != nil:
			return false, errors.New("another template is being applied")
		case s.rec.TemplateVersion == spec.TemplateVersion:
			return false, nil // the request was overtaken by its own success
		}
		return true, s.begin(vm.OpApply, spec, s.doApply)
	})
}

func (s *supervisor) doApply(ctx context.Context, j *job) {
	state, lost, err := s.lookBefore()
	if lost != nil {
		s.finish(state, lost)
		return
	}
	end := childEnd{}
	crashpoint.At(crashpoint.ApplyBegun)
	if err == nil {
		end, err = s.work(ctx, "apply", j.spec.Template)
	}
	if err == nil {
		crashpoint.At(crashpoint.ApplyWorked)
		rec := s.recorded()
		rec.Failure, rec.Failures = nil, 0
		rec.TemplateVersion, rec.TemplateSum, rec.Instance = j.spec.TemplateVersion, sumOf(j.spec.Template), end.instance
		err = s.save(rec)
		crashpoint.At(crashpoint.ApplyDone)
	}
	if s.driver.ctx.Err() != nil {
		return
	}
	if s.isDiscarded(j) {
		s.doDelete(s.driver.ctx, j)
		return
	}
	if err == nil || errors.Is(context.Cause(ctx), errCalledOff) {
		s.finish(vm.Stopped, nil)
		return
	}
	s.finish(vm.Stopped, s.failed(j, err, end))
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
		if state == vm.Absent || state == vm.Foreign {
			s.rec, s.grace = record{}, 0
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

// save writes the record, and keeps it when that is done: what is about to be done may not contradict the disk.
func (s *supervisor) save(rec record) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := rec.write(s.dir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec, s.unsaved = rec, nil
	return nil
}

// notice keeps something to be told once; the lock is held.
func (s *supervisor) notice(n vm.Notice) {
	if len(s.notices) < maxNotices {
		s.notices = append(s.notices, n)
	}
}
