package faults

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// TestDeaths has daemon, agent and driver die, in every pair and order, of a VM whose helpers are deaf and in sessions of
// their own. The daemon dies by closing the driver, as good as dead: it touches no VM.
func TestDeaths(t *testing.T) {
	t.Parallel()
	const daemon, agent, driver = "daemon", "agent", "driver"
	for name, deaths := range map[string][]string{
		"agent": {agent}, "driver": {driver},
		"agent, then driver": {agent, driver}, "driver, then agent": {driver, agent},
		"daemon, then agent": {daemon, agent}, "daemon, then driver": {daemon, driver},
		"agent, then daemon": {agent, daemon}, "driver, then daemon": {driver, daemon},
		"daemon, then agent and driver": {daemon, agent, driver},
		"agent and driver, then daemon": {agent, driver, daemon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.must(os.MkdirAll(filepath.Join(h.home, "_disks", "data"), 0o700))
			h.misbehave("one", standin.Faults{Strays: 3})
			data := vm.Spec{Owner: "me", TemplateVersion: "1", Template: lines(template, "additionalDisks: [data]")}
			h.must(h.driver.Create("one", data))
			h.reach("one", vm.Stopped)
			running := h.start("one")
			members := h.grown("one", 2+1+3)
			if locks := h.locks("one"); len(locks) != 1 {
				t.Fatalf("locks: %v", locks)
			}
			for _, who := range deaths {
				switch who {
				case daemon:
					h.must(h.driver.Close())
				case agent:
					h.kill(running.Host.Agent)
				case driver:
					h.kill(running.Host.Driver)
				}
			}
			if slices.Contains(deaths, daemon) {
				h.open()
			}
			seen := deaths[len(deaths)-1] == daemon // the earlier daemon may have seen the end, and told of it
			h.until("one", "Stopped by the deaths", func(got vm.Observed) bool {
				return got.State == vm.Stopped && (got.Failure != nil || seen)
			})
			h.expectGone(members)
			h.expectTidy("one")

			h.start("one")
			if boots := h.boots("one"); len(boots) != 2 {
				t.Errorf("boots: %v", boots)
			}
			h.remove("one")
			h.expectTidy("one")
		})
	}
}

// TestDaemonsDeathTouchesNothing: the guest is not booted again, and its lock is kept.
func TestDaemonsDeathTouchesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	before := h.run("one")
	members := h.family("one")
	for range 3 {
		h.reopen()
		got := h.until("one", "known", func(got vm.Observed) bool { return got.State != vm.Unknown && got.State != vm.Starting })
		if got.State != vm.Running || !got.Host.Adopted || got.Host.Agent != before.Host.Agent || got.Host.Driver != before.Host.Driver {
			t.Fatalf("%s, %+v", got.State, got.Host)
		}
	}
	for _, id := range members {
		if !alive(id) {
			t.Errorf("%v has ended", id)
		}
	}
	h.must(h.driver.Stop("one", patience))
	h.reach("one", vm.Stopped)
	if boots := h.boots("one"); len(boots) != 1 || !boots[0] {
		t.Errorf("boots: %v, want one that was shut down", boots)
	}
	h.expectGone(members)
	h.expectTidy("one")
}

// TestWorkersDie has a worker die at each of its steps, and the daemon with it.
func TestWorkersDie(t *testing.T) {
	t.Parallel()
	for _, step := range []standin.Step{standin.CreateBegins, standin.CreateHalfDone, standin.CreateEnds} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.misbehave("one", standin.Faults{At: map[standin.Step]standin.Action{step: standin.Die}})
			h.must(h.driver.Create("one", spec()))
			h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Absent && got.Failure != nil })
			h.misbehave("one", standin.Faults{At: map[standin.Step]standin.Action{step: standin.Hang}})
			h.must(h.driver.Create("one", spec()))
			h.reopen()
			h.reach("one", vm.Absent)
			if _, err := os.Stat(h.dir("one").Path()); !os.IsNotExist(err) {
				t.Errorf("left behind: %v", err)
			}
			h.misbehave("one", standin.Faults{})
			h.create("one")
		})
	}
	for _, step := range []standin.Step{standin.DeleteBegins, standin.DeleteHalfDone, standin.DeleteEnds} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.create("one")
			h.misbehave("one", standin.Faults{At: map[standin.Step]standin.Action{step: standin.Die}})
			h.must(h.driver.Delete("one"))
			h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
			h.misbehave("one", standin.Faults{})
			h.reopen()
			if step == standin.DeleteBegins { // nothing was lost, and nobody asks any more
				h.reach("one", vm.Stopped)
				h.must(h.driver.Delete("one"))
			}
			h.reach("one", vm.Absent)
			h.create("one")
		})
	}
}

// TestDeletionIsTakenBack has a deletion fail before anything is lost, and nobody ask for it again: the VM can be started, and is there
// for the next daemon.
func TestDeletionIsTakenBack(t *testing.T) {
	t.Parallel()
	protected := func(h *host) string { return filepath.Join(h.dir("one").Path(), "protected") }
	for name, test := range map[string]struct {
		begin, end func(h *host)
		want       string
	}{
		"the worker dies": {
			func(h *host) {
				h.misbehave("one", standin.Faults{At: map[standin.Step]standin.Action{standin.DeleteBegins: standin.Die}})
			},
			func(h *host) { h.misbehave("one", standin.Faults{}) },
			"the worker ended early",
		},
		"it is protected": {
			func(h *host) { h.must(os.WriteFile(protected(h), nil, 0o600)) },
			func(h *host) { h.must(os.Remove(protected(h))) },
			"limactl unprotect",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.create("one")
			test.begin(h)
			h.must(h.driver.Delete("one"))
			got := h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
			if got.Failure.During != vm.OpDelete || !strings.Contains(got.Failure.Message, test.want) {
				t.Errorf("%+v", got.Failure)
			}
			test.end(h)
			h.start("one")
			h.must(h.driver.Stop("one", patience))
			h.reach("one", vm.Stopped)
			h.reopen()
			h.until("one", "the truth", func(got vm.Observed) bool { return got.State != vm.Unknown })
			h.start("one")
			h.remove("one")
		})
	}
}

// TestAgentsDie has an agent die at each of its steps.
func TestAgentsDie(t *testing.T) {
	t.Parallel()
	for _, step := range []standin.Step{
		standin.AgentBegins, standin.AgentListens, standin.AgentContained, standin.DriverBegins, standin.DriverStarted, standin.AgentRunning,
	} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.create("one")
			h.misbehave("one", standin.Faults{Strays: 1, At: map[standin.Step]standin.Action{step: standin.Die}})
			h.must(h.driver.Start("one"))
			got := h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
			if got.Failure.During != vm.OpStart {
				t.Errorf("%+v", got.Failure)
			}
			h.expectTidy("one")
			h.misbehave("one", standin.Faults{})
			h.start("one")
			h.remove("one")
		})
	}
}
