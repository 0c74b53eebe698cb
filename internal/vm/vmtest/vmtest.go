// Package vmtest owns the conformance suite of the vm.Driver contract: what every driver, real or fake, must do, said once.
//
// The suite never polls and never sleeps: it waits for the driver's notifications, so that a driver which changes state
// without announcing it fails here.
package vmtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
)

// Harness is one driver under test, over a home of its own.
type Harness struct {
	Driver vm.Driver
	// Good is a template that boots, Other one that differs from it and boots too, Bad one that Create and Apply must fail
	// on.
	Good, Other, Bad []byte
	// Reopen makes a new driver over the same home, as the next daemon does. The suite has closed the old one.
	Reopen func(t *testing.T, notify func(name string)) vm.Driver
	// Crash ends the agent of a VM at once and from outside, as SIGKILL does.
	Crash func(t *testing.T, name string)
	// PlantForeign makes a directory called name that is not of the driver and that nobody uses, before the driver first hears
	// of it. It returns a function that fails the test if anything in it has changed, or if it was moved aside when it should
	// not be, or the other way around.
	PlantForeign func(t *testing.T, name string) (unchanged func(aside bool))
	// Patience bounds each wait. It only decides how long a broken driver takes to fail.
	Patience time.Duration
	// Grace is enough for a healthy VM to shut down in.
	Grace time.Duration
}

// NewHarness makes a driver over a fresh home. It cleans up with t.Cleanup; nothing that it made may outlive the test.
type NewHarness func(t *testing.T, notify func(name string)) Harness

// Run runs the suite.
func Run(t *testing.T, newHarness NewHarness) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"Absent", testAbsent},
		{"Refusals", testRefusals},
		{"BadTemplate", testBadTemplate},
		{"ConcurrentCreate", testConcurrentCreate},
		{"DeleteWhileCreating", testDeleteWhileCreating},
		{"Apply", testApply},
		{"Foreign", testForeign},
		{"Grace", testGrace},
		{"Lifecycle", testLifecycle},
		{"StopWhileStarting", testStopWhileStarting},
		{"Crash", testCrash},
		{"Adopt", testAdopt},
		{"CrashUnwatched", testCrashUnwatched},
		{"Drain", testDrain},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{changed: make(chan struct{}, 1), seen: map[string]*history{}}
			s.Harness = newHarness(t, s.notify)
			test.run(t, s)
		})
	}
}

// suite is one test's view of its driver: every Observe goes through it, so that nothing which is told only once is lost.
type suite struct {
	Harness
	changed chan struct{}

	mu   sync.Mutex
	seen map[string]*history
}

// history is what has been observed of one VM so far.
type history struct {
	states   []vm.State // without repetitions
	progress []vm.Progress
	notices  []vm.Notice
}

func (s *suite) notify(string) {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *suite) observe(t *testing.T, name string) vm.Observed {
	t.Helper()
	begin := time.Now()
	got := s.Driver.Observe(name)
	// Observe and the requests must answer in milliseconds; a second leaves room for a machine that is busy.
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Observe(%q) blocked for %v", name, took)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.seen[name]
	if h == nil {
		h = &history{}
		s.seen[name] = h
	}
	if n := len(h.states); n == 0 || h.states[n-1] != got.State {
		h.states = append(h.states, got.State)
	}
	if got.Progress != nil {
		if p := got.Progress.Percent; p < -1 || p > 100 {
			t.Errorf("progress of %s is %d percent", name, p)
		}
		h.progress = append(h.progress, *got.Progress)
	}
	h.notices = append(h.notices, got.Notices...)
	checkShape(t, name, got)
	return got
}

// checkShape holds every observation to what the contract says of its fields.
func checkShape(t *testing.T, name string, got vm.Observed) {
	t.Helper()
	switch got.State {
	case vm.Unknown, vm.Absent, vm.Creating, vm.Stopped, vm.Starting, vm.Running, vm.Stopping, vm.Deleting, vm.Foreign:
	default:
		t.Errorf("%s: state %q is none of the contract's", name, got.State)
	}
	if got.State == vm.Absent && (got.Owner != "" || got.TemplateVersion != "" || got.Host != nil || got.Instance != nil) {
		t.Errorf("%s is Absent and has parts: %+v", name, got)
	}
	if got.State == vm.Stopped && got.Host != nil {
		t.Errorf("%s is Stopped and has a host: %+v", name, got.Host)
	}
	if got.State == vm.Running && (got.Host == nil || got.Host.Agent.IsZero() || got.Host.StartedAt.IsZero()) {
		t.Errorf("%s is Running without a complete host: %+v", name, got.Host)
	}
	if (got.State == vm.Stopped || got.State == vm.Running) && (got.Instance == nil || got.Owner == "" || got.TemplateVersion == "") {
		t.Errorf("%s is %s and lacks owner, template or instance: %+v", name, got.State, got)
	}
	if got.Failure != nil && (got.Failure.Count < 1 || got.Failure.At.IsZero() || got.Failure.Message == "") {
		t.Errorf("%s: incomplete failure %+v", name, *got.Failure)
	}
}

// until waits for an observation of name that satisfies ok.
func (s *suite) until(t *testing.T, name, what string, ok func(vm.Observed) bool) vm.Observed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.Patience)
	defer cancel()
	for {
		got := s.observe(t, name)
		if ok(got) {
			return got
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			t.Fatalf("%s never came to: %s; last %s, failure %+v, states so far %v", name, what, describe(got), got.Failure, s.seen[name].states)
		}
	}
}

func describe(got vm.Observed) string {
	text := string(got.State)
	if got.Progress != nil {
		text += " (" + got.Progress.Stage + ")"
	}
	return text
}

// reach waits for a state, and fails as soon as the driver reports a new failure, which keeps it from coming.
func (s *suite) reach(t *testing.T, name string, want vm.State) vm.Observed {
	t.Helper()
	begin := s.observe(t, name)
	got := s.until(t, name, string(want)+" without a failure", func(got vm.Observed) bool {
		return got.State == want || (got.Failure != nil && (begin.Failure == nil || got.Failure.Count != begin.Failure.Count))
	})
	if got.State != want || got.Failure != nil {
		t.Fatalf("%s is %s instead of %s, with failure %+v", name, got.State, want, got.Failure)
	}
	return got
}

// fails waits for a state with a failure of one operation.
func (s *suite) fails(t *testing.T, name string, want vm.State, during vm.Operation) vm.Observed {
	t.Helper()
	got := s.until(t, name, string(want)+" with a failure", func(got vm.Observed) bool {
		return got.State == want && got.Failure != nil
	})
	if got.Failure.During != during {
		t.Fatalf("%s failed during %s instead of %s: %s", name, got.Failure.During, during, got.Failure.Message)
	}
	return got
}

// ask fails the test when a request that must be taken is refused, or blocks.
func ask(t *testing.T, what string, request func() error) {
	t.Helper()
	begin := time.Now()
	if err := request(); err != nil {
		t.Fatalf("%s was refused: %v", what, err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("%s blocked for %v", what, took)
	}
}

// refused fails the test when a request is taken that must be refused, or when the refusal changes the state.
func (s *suite) refused(t *testing.T, name, what string, request func() error) {
	t.Helper()
	before := s.observe(t, name)
	if err := request(); err == nil {
		t.Errorf("%s was taken while %s", what, before.State)
	}
	after := s.observe(t, name)
	if before.State != after.State || before.Owner != after.Owner || before.TemplateVersion != after.TemplateVersion {
		t.Errorf("%s was refused and changed %+v to %+v", what, before, after)
	}
}

func (s *suite) good(version string) vm.Spec {
	return vm.Spec{Owner: "owner-1", Template: s.Good, TemplateVersion: version}
}

// stopped makes an instance that is ready to start.
func (s *suite) stopped(t *testing.T, name string) {
	t.Helper()
	ask(t, "Create", func() error { return s.Driver.Create(name, s.good("v1")) })
	s.reach(t, name, vm.Stopped)
}

// running makes an instance that runs.
func (s *suite) running(t *testing.T, name string) vm.Observed {
	t.Helper()
	s.stopped(t, name)
	ask(t, "Start", func() error { return s.Driver.Start(name) })
	return s.reach(t, name, vm.Running)
}

// reopen closes the driver as a daemon does that keeps its VMs, and goes on as the next daemon.
func (s *suite) reopen(t *testing.T) {
	t.Helper()
	if err := s.Driver.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	s.Driver = s.Reopen(t, s.notify)
}

// notices counts what was told so far under one reason.
func (s *suite) notices(name, reason string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, notice := range s.seen[name].notices {
		if notice.Reason == reason {
			n++
		}
	}
	return n
}
