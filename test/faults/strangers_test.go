package faults

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// pidFiles are those that Lima's drivers write, and Lima's agent.
func pidFiles() []string { return []string{"ha.pid", "qemu.pid", "vz.pid", "wsl2.pid", "x.drv.pid"} }

// plantPID writes the PID of a stranger into every PID file of a VM.
func (h *host) plantPID(name string, stranger process.Identity) {
	h.Helper()
	for _, file := range pidFiles() {
		h.must(os.WriteFile(filepath.Join(h.dir(name).Path(), file), []byte(strconv.Itoa(stranger.PID)), 0o600))
	}
}

// recycleRecord makes a stranger the wearer of the PID that the record of a VM names: only the start time differs.
func (h *host) recycleRecord(name string, stranger process.Identity) {
	h.Helper()
	path := filepath.Join(h.dir(name).RecordDir(), "record.json")
	text, err := os.ReadFile(path)
	h.must(err)
	record := map[string]any{}
	h.must(json.Unmarshal(text, &record))
	stranger.StartTime--
	record["child"] = stranger
	text, err = json.Marshal(record)
	h.must(err)
	h.must(os.WriteFile(path, text, 0o600))
}

// TestStrangersSurvive plants the PID of a living process that is none of ours in every PID file, and in the record, for a VM
// in every state and for every operation. The stranger lives, and the operation ends as it does without one.
func TestStrangersSurvive(t *testing.T) {
	t.Parallel()
	grace := func(h *host, grace time.Duration) {
		h.must(h.driver.Stop("one", grace))
		h.reach("one", vm.Stopped)
	}
	remove := func(h *host) {
		h.must(h.driver.Delete("one"))
		h.reach("one", vm.Absent)
	}
	drain := func(h *host) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		h.must(h.driver.Drain(ctx, func(string) time.Duration { return 20 * time.Second }))
	}
	states := map[string]func(h *host){
		"stopped":  func(h *host) { h.create("one") },
		"starting": func(h *host) { h.misbehave("one", standin.Faults{BootTime: time.Hour}); h.create("one"); h.boot() },
		"running":  func(h *host) { h.run("one") },
		"adopted":  func(h *host) { h.run("one"); h.reopen(); h.reach("one", vm.Running) },
		"agent dead": func(h *host) {
			got := h.run("one")
			h.must(h.driver.Close())
			h.kill(got.Host.Agent)
		},
		"broken": func(h *host) { h.create("one"); h.must(os.Remove(h.dir("one").Template())) },
	}
	for _, test := range []struct {
		state, operation string
		do               func(h *host)
		told             bool // all strangers are told of
	}{
		{"stopped", "start", func(h *host) { h.start("one") }, true},
		{"stopped", "delete", remove, true},
		{"stopped", "drain", drain, false},
		{"starting", "stop", func(h *host) { grace(h, 20*time.Second) }, false},
		{"starting", "stop by force", func(h *host) { grace(h, 0) }, false},
		{"starting", "drain", drain, false},
		{"running", "stop", func(h *host) { grace(h, 20*time.Second) }, false},
		{"running", "stop by force", func(h *host) { grace(h, 0) }, false},
		{"running", "restart", func(h *host) { grace(h, 20*time.Second); h.start("one") }, false},
		{"running", "stop and delete", func(h *host) { grace(h, 20*time.Second); remove(h) }, false},
		{"running", "adopt", func(h *host) { h.reopen(); h.reach("one", vm.Running) }, false},
		{"running", "drain", drain, false},
		{"adopted", "stop", func(h *host) { grace(h, 20*time.Second) }, false},
		{"adopted", "stop by force", func(h *host) { grace(h, 0) }, false},
		{"agent dead", "adopt", func(h *host) { h.open(); h.reach("one", vm.Stopped) }, true},
		{"agent dead", "start", func(h *host) { h.open(); h.reach("one", vm.Stopped); h.start("one") }, true},
		{"agent dead", "delete", func(h *host) { h.open(); h.reach("one", vm.Stopped); remove(h) }, true},
		{"broken", "delete", remove, true},
	} {
		t.Run(test.state+", "+test.operation, func(t *testing.T) {
			t.Parallel()
			stranger := neighbour(t)
			h := newHost(t)
			states[test.state](h)
			h.plantPID("one", stranger)
			if test.state == "agent dead" {
				h.recycleRecord("one", stranger)
			}
			h.forgetNotices("one")
			test.do(h)
			h.observe("one")
			if n := h.noticed("one", "ForeignProcess"); test.told && n != len(pidFiles()) {
				t.Errorf("%d of %d strangers were told", n, len(pidFiles()))
			}
		})
	}
}

// boot starts the VM and waits until its driver runs.
func (h *host) boot() {
	h.Helper()
	h.must(h.driver.Start("one"))
	h.until("one", "a driver", func(got vm.Observed) bool { return got.Host != nil && !got.Host.Driver.IsZero() })
}
