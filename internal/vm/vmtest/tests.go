package vmtest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
)

func testAbsent(t *testing.T, s *suite) {
	if got := s.until(t, "nobody", "Absent", func(got vm.Observed) bool { return got.State != vm.Unknown }); got.State != vm.Absent {
		t.Fatalf("an instance that was never made is %s", got.State)
	}
	for what, request := range map[string]func() error{
		"Apply":  func() error { return s.Driver.Apply("nobody", s.good("v1")) },
		"Start":  func() error { return s.Driver.Start("nobody") },
		"Stop":   func() error { return s.Driver.Stop("nobody", 0) },
		"Delete": func() error { return s.Driver.Delete("nobody") },
	} {
		s.refused(t, "nobody", what, request)
	}
}

func testRefusals(t *testing.T, s *suite) {
	s.stopped(t, "one")
	stranger := s.good("v9")
	stranger.Owner = "owner-2"
	s.refused(t, "one", "Create of an instance that is there", func() error { return s.Driver.Create("one", s.good("v2")) })
	s.refused(t, "one", "Create for another owner", func() error { return s.Driver.Create("one", stranger) })
	s.refused(t, "one", "Apply for another owner", func() error { return s.Driver.Apply("one", stranger) })
	s.refused(t, "one", "Create without a name", func() error { return s.Driver.Create("", s.good("v1")) })
	s.refused(t, "one", "Create of a path", func() error { return s.Driver.Create("../one", s.good("v1")) })
	ask(t, "Delete", func() error { return s.Driver.Delete("one") })
	s.reach(t, "one", vm.Absent)
}

func testBadTemplate(t *testing.T, s *suite) {
	bad := vm.Spec{Owner: "owner-1", Template: s.Bad, TemplateVersion: "bad"}
	for count := 1; count <= 2; count++ {
		ask(t, "Create", func() error { return s.Driver.Create("one", bad) })
		s.until(t, "one", "the failure of this attempt", func(got vm.Observed) bool {
			return got.State == vm.Absent && got.Failure != nil && got.Failure.Count == count
		})
		s.fails(t, "one", vm.Absent, vm.OpCreate)
	}
	s.stopped(t, "one") // and a good one clears it
}

func testConcurrentCreate(t *testing.T, s *suite) {
	var wg sync.WaitGroup
	var taken int
	var mu sync.Mutex
	for range 8 {
		wg.Go(func() {
			if s.Driver.Create("one", s.good("v1")) == nil {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if taken == 0 {
		t.Fatal("not one of the Creates was taken")
	}
	s.reach(t, "one", vm.Stopped)
	if !slices.Contains(s.seen["one"].states, vm.Stopped) {
		t.Fatal("never stopped")
	}
	if len(s.seen["one"].progress) == 0 && slices.Contains(s.seen["one"].states, vm.Creating) {
		t.Error("no progress was told while Creating")
	}
}

func testDeleteWhileCreating(t *testing.T, s *suite) {
	ask(t, "Create", func() error { return s.Driver.Create("one", s.good("v1")) })
	if got := s.observe(t, "one"); got.State == vm.Creating && got.Owner != "owner-1" {
		t.Errorf("while Creating, the owner is %q", got.Owner)
	}
	ask(t, "Delete", func() error { return s.Driver.Delete("one") })
	if got := s.reach(t, "one", vm.Absent); got.Failure != nil {
		t.Errorf("a creation that was called off is a failure: %+v", got.Failure)
	}
	s.stopped(t, "one")
}

func testApply(t *testing.T, s *suite) {
	s.stopped(t, "one")
	ask(t, "Apply", func() error {
		return s.Driver.Apply("one", vm.Spec{Owner: "owner-1", Template: s.Other, TemplateVersion: "v2"})
	})
	s.until(t, "one", "Stopped with the new template", func(got vm.Observed) bool {
		return got.State == vm.Stopped && got.TemplateVersion == "v2"
	})
	before := s.observe(t, "one")
	ask(t, "Apply of the version that it has", func() error {
		return s.Driver.Apply("one", vm.Spec{Owner: "owner-1", Template: s.Bad, TemplateVersion: "v2"})
	})
	if after := s.observe(t, "one"); !reflect.DeepEqual(after, before) {
		t.Errorf("Apply of the version that it has changed %+v to %+v", before, after)
	}
	ask(t, "Apply", func() error {
		return s.Driver.Apply("one", vm.Spec{Owner: "owner-1", Template: s.Bad, TemplateVersion: "v3"})
	})
	got := s.fails(t, "one", vm.Stopped, vm.OpApply)
	if got.TemplateVersion != "v2" {
		t.Errorf("a template that failed is reported as applied: %s", got.TemplateVersion)
	}
	s.reopen(t)
	s.until(t, "one", "Stopped with the template that was last applied", func(got vm.Observed) bool {
		return got.State == vm.Stopped && got.TemplateVersion == "v2" && got.Owner == "owner-1"
	})
}

func testForeign(t *testing.T, s *suite) {
	unchanged := s.PlantForeign(t, "theirs")
	s.until(t, "theirs", "Foreign", func(got vm.Observed) bool { return got.State == vm.Foreign })
	for what, request := range map[string]func() error{
		"Apply":  func() error { return s.Driver.Apply("theirs", s.good("v1")) },
		"Start":  func() error { return s.Driver.Start("theirs") },
		"Stop":   func() error { return s.Driver.Stop("theirs", 0) },
		"Delete": func() error { return s.Driver.Delete("theirs") },
	} {
		s.refused(t, "theirs", what, request)
	}
	unchanged(false)
	s.reopen(t)
	s.stopped(t, "theirs")
	unchanged(true)
	if n := s.notices("theirs", "LeftoverMoved"); n != 1 {
		t.Errorf("that something was moved aside was told %d times", n)
	}
	ask(t, "Delete", func() error { return s.Driver.Delete("theirs") })
	s.reach(t, "theirs", vm.Absent)
	unchanged(true)
}

func testLifecycle(t *testing.T, s *suite) {
	first := s.running(t, "one")
	if len(s.seen["one"].progress) == 0 {
		t.Error("no progress was told on the way to Running")
	}
	if first.Host.Adopted {
		t.Error("an agent of this driver's own is reported as adopted")
	}
	if first.Instance.SSHPort == 0 {
		t.Error("a running instance has no ssh port")
	}
	s.refused(t, "one", "Delete", func() error {
		err := s.Driver.Delete("one")
		if state := vm.StateError(""); !errors.As(err, &state) || vm.State(state) != vm.Running {
			t.Errorf("to delete what runs is refused as %v, want a StateError", err)
		}
		return err
	})
	s.refused(t, "one", "Create", func() error { return s.Driver.Create("one", s.good("v1")) })
	s.refused(t, "one", "Apply", func() error { return s.Driver.Apply("one", s.good("v2")) })

	ask(t, "Stop", func() error { return s.Driver.Stop("one", s.Grace) })
	ask(t, "Stop, again", func() error { return s.Driver.Stop("one", s.Grace) })
	s.refused(t, "one", "Delete", func() error { return s.Driver.Delete("one") })
	s.reach(t, "one", vm.Stopped)
	if n := s.notices("one", "ForcedStop"); n != 0 {
		t.Errorf("a healthy VM that was given its grace was stopped by force")
	}

	ask(t, "Start", func() error { return s.Driver.Start("one") })
	second := s.reach(t, "one", vm.Running)
	if second.Host.Agent == first.Host.Agent {
		t.Error("two runs have one agent identity")
	}
	s.refused(t, "one", "Delete", func() error { return s.Driver.Delete("one") })
	ask(t, "Stop by force", func() error { return s.Driver.Stop("one", 0) })
	s.reach(t, "one", vm.Stopped)
	s.observe(t, "one")
	if n := s.notices("one", "ForcedStop"); n != 1 {
		t.Errorf("a stop by force was told %d times", n)
	}
	ask(t, "Delete", func() error { return s.Driver.Delete("one") })
	s.reach(t, "one", vm.Absent)
	for _, state := range []vm.State{vm.Creating, vm.Stopped, vm.Starting, vm.Running, vm.Stopping} {
		if !slices.Contains(s.seen["one"].states, state) {
			t.Errorf("%s was never observed: %v", state, s.seen["one"].states)
		}
	}
}

func testStopWhileStarting(t *testing.T, s *suite) {
	s.stopped(t, "one")
	ask(t, "Start", func() error { return s.Driver.Start("one") })
	ask(t, "Start, again", func() error { return s.Driver.Start("one") })
	s.refused(t, "one", "Delete", func() error { return s.Driver.Delete("one") })
	// A grace that is far too long, then one that takes effect at once.
	ask(t, "Stop", func() error { return s.Driver.Stop("one", time.Hour) })
	ask(t, "Stop by force", func() error { return s.Driver.Stop("one", 0) })
	s.reach(t, "one", vm.Stopped)
	if slices.Contains(s.seen["one"].states, vm.Running) {
		t.Error("it was Running on the way")
	}
}

func testGrace(t *testing.T, s *suite) {
	s.reach(t, "one", vm.Absent)
	s.refused(t, "one", "SetGrace", func() error { return s.Driver.SetGrace("one", time.Minute) })
	s.stopped(t, "one")
	if got := s.observe(t, "one").Grace; got != 0 {
		t.Errorf("a grace of %s that nobody has noted", got)
	}
	for _, grace := range []time.Duration{time.Minute, 0, 90 * time.Second} {
		ask(t, "SetGrace", func() error { return s.Driver.SetGrace("one", grace) })
		if got := s.observe(t, "one").Grace; got != grace {
			t.Errorf("a grace of %s, want %s", got, grace)
		}
		s.reopen(t)
		if got := s.reach(t, "one", vm.Stopped).Grace; got != grace {
			t.Errorf("a grace of %s for the next driver, want %s", got, grace)
		}
	}
	ask(t, "Delete", func() error { return s.Driver.Delete("one") })
	s.reach(t, "one", vm.Absent)
	s.stopped(t, "one")
	if got := s.observe(t, "one").Grace; got != 0 {
		t.Errorf("a grace of %s that an earlier instance of that name had", got)
	}
}

func testCrash(t *testing.T, s *suite) {
	s.running(t, "one")
	for count := 1; count <= 2; count++ {
		s.Crash(t, "one")
		got := s.until(t, "one", "Stopped by the crash", func(got vm.Observed) bool { return got.State == vm.Stopped })
		switch failure := got.Failure; {
		case failure == nil:
			t.Fatal("a crash left no failure")
		case failure.During != vm.OpRun:
			t.Errorf("a crash while Running is a failure during %s", failure.During)
		case failure.ExitStatus == "":
			t.Error("a crash has no exit status")
		case failure.Count != count:
			t.Errorf("crash %d counts %d", count, failure.Count)
		}
		ask(t, "Start", func() error { return s.Driver.Start("one") })
		s.until(t, "one", "Running again", func(got vm.Observed) bool { return got.State == vm.Running && got.Failure == nil })
	}
	ask(t, "Stop", func() error { return s.Driver.Stop("one", s.Grace) })
	s.reach(t, "one", vm.Stopped)
}

func testAdopt(t *testing.T, s *suite) {
	before := s.running(t, "one")
	s.reopen(t)
	after := s.until(t, "one", "Running, adopted", func(got vm.Observed) bool { return got.State != vm.Unknown && got.State != vm.Starting })
	if after.State != vm.Running || after.Failure != nil {
		t.Fatalf("the next driver found it %s, failure %+v", after.State, after.Failure)
	}
	if !after.Host.Adopted || after.Host.Agent != before.Host.Agent {
		t.Errorf("agent %v was not adopted: %+v", before.Host.Agent, *after.Host)
	}
	if !after.Host.StartedAt.Equal(before.Host.StartedAt) {
		t.Errorf("started at %v for one driver and at %v for the next", before.Host.StartedAt, after.Host.StartedAt)
	}
	if after.Instance.SSHPort != before.Instance.SSHPort {
		t.Errorf("the ssh port moved from %d to %d", before.Instance.SSHPort, after.Instance.SSHPort)
	}
	s.Crash(t, "one")
	s.fails(t, "one", vm.Stopped, vm.OpRun)
	ask(t, "Delete", func() error { return s.Driver.Delete("one") })
	s.reach(t, "one", vm.Absent)
}

// testCrashUnwatched has an agent die while no daemon lives.
func testCrashUnwatched(t *testing.T, s *suite) {
	s.running(t, "one")
	if err := s.Driver.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	s.Crash(t, "one")
	s.Driver = s.Reopen(t, s.notify)
	s.until(t, "one", "Stopped", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
	ask(t, "Start", func() error { return s.Driver.Start("one") })
	s.until(t, "one", "Running again", func(got vm.Observed) bool { return got.State == vm.Running })
	ask(t, "Stop by force", func() error { return s.Driver.Stop("one", 0) })
	s.reach(t, "one", vm.Stopped)
}

func testDrain(t *testing.T, s *suite) {
	names := []string{"one", "two"}
	for _, name := range names {
		s.stopped(t, name)
		ask(t, "Start", func() error { return s.Driver.Start(name) })
	}
	s.stopped(t, "idle")
	for _, name := range names {
		s.reach(t, name, vm.Running)
	}
	ctx, cancel := context.WithTimeout(t.Context(), s.Patience)
	defer cancel()
	if err := s.Driver.Drain(ctx, func(string) time.Duration { return s.Grace }); err != nil {
		t.Fatalf("Drain: %v", err)
	}
	for _, name := range append(names, "idle") {
		got := s.observe(t, name)
		if got.State != vm.Stopped || got.Failure != nil || !got.Draining {
			t.Errorf("after Drain %s is %s, failure %+v, draining %v", name, got.State, got.Failure, got.Draining)
		}
		s.refused(t, name, "Start", func() error { return s.Driver.Start(name) })
		if n := s.notices(name, "ForcedStop"); n != 0 {
			t.Errorf("%s was healthy and was stopped by force", name)
		}
	}
	s.reach(t, "three", vm.Absent)
	s.refused(t, "three", "Create", func() error { return s.Driver.Create("three", s.good("v1")) })
	s.reopen(t)
	for _, name := range append(names, "idle") {
		s.until(t, name, "Stopped for the next driver", func(got vm.Observed) bool { return got.State == vm.Stopped && !got.Draining })
	}
}
