package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

var (
	rounds = flag.Int("rounds", 20, "rounds of the soak")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the soak")
)

// TestSoak kills daemon, agents and drivers of several VMs at random, round after round. After each round the VMs come to
// Running again, those that nobody touched with the agent that they had; nothing of the earlier runs is left.
func TestSoak(t *testing.T) {
	t.Parallel()
	t.Logf("-rounds=%d -seed=%d", *rounds, *seed)
	random := rand.New(rand.NewPCG(*seed, 0))
	neighbour(t)
	h := newHost(t)
	names := []string{"one", "two", "three"}
	for _, name := range names {
		h.misbehave(name, standin.Faults{Strays: 1})
		h.run(name)
	}
	for round := range *rounds {
		before := map[string]vm.Observed{}
		members := map[string][]process.Identity{}
		hit := map[string]string{}
		for _, name := range names {
			before[name] = h.reach(name, vm.Running)
			members[name] = h.family(name)
			hit[name] = []string{"", "agent", "driver", "both"}[random.IntN(4)]
		}
		restart := random.IntN(2) == 0
		if restart {
			h.must(h.driver.Close())
		}
		for _, name := range names {
			switch hit[name] {
			case "agent":
				h.kill(before[name].Host.Agent)
			case "driver":
				h.kill(before[name].Host.Driver)
			case "both":
				h.kill(before[name].Host.Agent, before[name].Host.Driver)
			}
		}
		if restart {
			h.open()
		}
		what := fmt.Sprintf("round %d, daemon killed %t, hit %v", round, restart, hit)
		for _, name := range names {
			if hit[name] == "" {
				got := h.reach(name, vm.Running)
				if got.Host.Agent != before[name].Host.Agent || got.Host.Driver != before[name].Host.Driver {
					t.Fatalf("%s: %s was untouched and was started anew", what, name)
				}
				continue
			}
			h.reach(name, vm.Stopped)
			h.expectGone(members[name])
			h.expectTidy(name)
			h.start(name)
		}
		if t.Failed() {
			t.Fatal(what)
		}
	}
	for _, name := range names {
		h.remove(name)
	}
}
