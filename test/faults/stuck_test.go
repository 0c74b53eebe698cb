package faults

import (
	"context"
	"fmt"
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
		{At: map[standin.Step]standin.Action{standin.AgentStopping: standin.Hang}},
		{At: map[standin.Step]standin.Action{standin.AgentStopping: standin.Freeze}},
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
