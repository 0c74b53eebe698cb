package faults

import (
	"testing"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// TestFailuresOutliveTheDaemon: the pause after a crash, and the policy not to start again, hold for the next daemon, too. It
// counts on from where the earlier one was, also when the VM runs between two crashes; a stop that was asked for forgives.
func TestFailuresOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.create("one")
	for count := 1; count <= 3; count++ {
		running := h.start("one")
		if count == 2 {
			h.reopen()
			h.reach("one", vm.Running)
		}
		h.kill(running.Host.Agent)
		before := h.until("one", "crashed", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil }).Failure
		h.reopen()
		after := h.reach("one", vm.Stopped).Failure
		if after == nil || after.During != vm.OpRun || after.Count != count || after.Message != before.Message || !after.At.Equal(before.At) {
			t.Fatalf("crash %d was %+v, and is %+v for the next daemon", count, before, after)
		}
	}
	h.start("one")
	h.must(h.driver.Stop("one", patience))
	h.reach("one", vm.Stopped)
	h.reopen()
	if got := h.reach("one", vm.Stopped); got.Failure != nil {
		t.Errorf("after a stop: %+v", got.Failure)
	}
	h.kill(h.start("one").Host.Agent)
	if got := h.until("one", "crashed", func(got vm.Observed) bool { return got.Failure != nil }); got.Failure.Count != 1 {
		t.Errorf("a stop does not forgive: %+v", got.Failure)
	}
}

// TestInterruptedStartIsNoCrash has the daemon and an agent die before the agent has begun its journal. The next daemon does not take
// the run before for the one that was interrupted.
func TestInterruptedStartIsNoCrash(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.create("one")
	h.kill(h.start("one").Host.Agent)
	h.until("one", "crashed", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
	h.misbehave("one", standin.Faults{At: map[standin.Step]standin.Action{standin.AgentBegins: standin.Hang}})
	h.must(h.driver.Start("one"))
	agent := h.until("one", "an agent", func(got vm.Observed) bool { return got.Host != nil }).Host.Agent
	h.must(h.driver.Close())
	h.kill(agent)
	h.open()
	if got := h.reach("one", vm.Stopped).Failure; got == nil || got.During != vm.OpStart || got.Count != 2 {
		t.Errorf("%+v", got)
	}
	h.misbehave("one", standin.Faults{})
	h.start("one")
	h.remove("one")
}

// TestPolicyNeverOutlivesTheDaemon of a real daemon.
func TestPolicyNeverOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch()
	s.make("one")
	s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.Running, obj.Spec.RestartPolicy = true, v1alpha1.RestartNever })
	s.awaitPhase("one", v1alpha1.PhaseRunning)
	members := s.family("one")
	s.kill(members[0])
	crashed := func(obj *v1alpha1.LimaVM) bool {
		for _, c := range obj.Status.Conditions {
			if c.Type == v1alpha1.ConditionRunning && c.Reason == v1alpha1.ReasonCrashed {
				return true
			}
		}
		return false
	}
	s.awaitVM("one", "a crash", crashed)
	s.killDaemon()
	s.launch()
	s.awaitVM("one", "a crash", crashed)
	// Whatever the new daemon was about to do, it has done when it has done this.
	s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Annotations = map[string]string{v1alpha1.AnnotationForceStop: "now"} })
	s.awaitVM("one", "a look", func(obj *v1alpha1.LimaVM) bool { return len(obj.Annotations) == 0 })
	if boots := s.boots("one"); len(boots) != 1 {
		t.Errorf("it was started again: %v", boots)
	}
}
