package faults

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// TestDrainWithStuckVMs mixes VMs that ignore everything, each in its way, with healthy ones, whose guests are shut down
// and not shot.
func TestDrainWithStuckVMs(t *testing.T) {
	t.Parallel()
	deaf := standin.Faults{IgnoreStop: true, IgnoreSignals: true, IgnorePower: true, Strays: 1}
	kinds := []standin.Faults{
		deaf,
		{IgnorePower: true},
		{IgnorePower: true, At: map[standin.Step]standin.Action{standin.AgentStopping: standin.Hang}},
		{IgnorePower: true, At: map[standin.Step]standin.Action{standin.AgentStopping: standin.Freeze}},
	}
	for _, stuck := range []int{1, 20} {
		t.Run(fmt.Sprint(stuck), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			healthy := []string{"healthy1", "healthy2", "healthy3"}
			names := append([]string{}, healthy...)
			for i := range stuck {
				name := fmt.Sprintf("stuck%d", i)
				h.misbehave(name, kinds[i%len(kinds)])
				names = append(names, name)
			}
			for _, name := range names {
				h.must(h.driver.Create(name, spec()))
			}
			for _, name := range names {
				h.reach(name, vm.Stopped)
				h.must(h.driver.Start(name))
			}
			var all []process.Identity
			for _, name := range names {
				h.reach(name, vm.Running)
				all = append(all, h.family(name)...)
			}
			grace := map[string]time.Duration{}
			for _, name := range names {
				grace[name] = time.Second
			}
			for _, name := range healthy {
				grace[name] = patience
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			h.must(h.driver.Drain(ctx, func(name string) time.Duration { return grace[name] }))
			h.expectGone(all)
			for _, name := range names {
				h.observe(name)
				h.expectTidy(name)
				want := 1
				if grace[name] == patience {
					want = 0
				}
				if n := h.noticed(name, "ForcedStop"); n != want {
					t.Errorf("%s: %d forced stops, want %d", name, n, want)
				}
				if boots := h.boots(name); len(boots) != 1 || boots[0] != (want == 0) {
					t.Errorf("%s: boots %v, shut down: want %t", name, boots, want == 0)
				}
			}
		})
	}
}

// TestHungAgentsGuestIsShutDown: an agent that hangs, in whatever way, costs no guest what it had not written yet. Nobody waits
// for the rest of the grace when the guest is down, and force was not used.
func TestHungAgentsGuestIsShutDown(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		faults standin.Faults
		frozen bool // by us, once it runs
		adopt  bool // by the next daemon, which cannot talk to it
		told   int  // that it had to be ended
	}{
		"takes requests and does nothing": {faults: standin.Faults{IgnoreStop: true, IgnoreSignals: true}},
		"hangs when it is asked":          {faults: standin.Faults{At: map[standin.Step]standin.Action{standin.AgentStopping: standin.Freeze}}, told: 1},
		"hangs when the guest is down":    {faults: standin.Faults{At: map[standin.Step]standin.Action{standin.DriverEnded: standin.Freeze}}, told: 1},
		"frozen":                          {frozen: true, told: 1},
		"mute for the next daemon":        {frozen: true, adopt: true, told: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.misbehave("one", test.faults)
			got := h.run("one")
			members := h.family("one")
			if test.frozen {
				h.must(exec.Command("/bin/kill", "-STOP", strconv.Itoa(got.Host.Agent.PID)).Run())
			}
			if test.adopt {
				h.reopen() // it gives the agent its time, and then replaces it
			} else {
				h.must(h.driver.Stop("one", 20*time.Second))
			}
			h.reach("one", vm.Stopped)
			h.expectGone(members)
			h.expectTidy("one")
			if boots := h.boots("one"); len(boots) != 1 || !boots[0] {
				t.Errorf("boots %v, want one that was shut down", boots)
			}
			if hung, forced := h.noticed("one", "HungAgent"), h.noticed("one", "ForcedStop"); hung != test.told || forced != 0 {
				t.Errorf("told %d times that the agent hung, %d times that force was used", hung, forced)
			}
		})
	}
}

// TestDrainCallsOff has workers hang when the daemon is asked to stop. What is called off has not failed.
func TestDrainCallsOff(t *testing.T) {
	t.Parallel()
	other := spec()
	other.TemplateVersion, other.Template = "2", lines("cpus: 1", "memory: 1GiB")
	h := newHost(t)
	h.create("applying")
	for _, name := range []string{"applying", "creating"} {
		h.misbehave(name, standin.Faults{At: map[standin.Step]standin.Action{standin.CreateBegins: standin.Hang, standin.ApplyBegins: standin.Hang}})
	}
	h.must(h.driver.Apply("applying", other))
	h.must(h.driver.Create("creating", spec()))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h.must(h.driver.Drain(ctx, func(string) time.Duration { return 0 }))
	for name, want := range map[string]vm.State{"applying": vm.Stopped, "creating": vm.Absent} {
		if got := h.observe(name); got.State != want || got.Failure != nil {
			t.Errorf("%s: %s, %+v", name, got.State, got.Failure)
		}
	}
	h.reopen()
	h.misbehave("applying", standin.Faults{})
	h.reach("applying", vm.Stopped)
	h.must(h.driver.Apply("applying", other))
	h.until("applying", "another template", func(got vm.Observed) bool { return got.TemplateVersion == "2" })
	h.must(h.driver.Delete("applying"))
	h.reach("applying", vm.Absent)
}
