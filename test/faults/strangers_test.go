package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// pidFiles are those that Lima's drivers write into an instance's directory, and Lima's agent.
func pidFiles() []string { return []string{"ha.pid", "qemu.pid", "vz.pid", "wsl2.pid", "x.drv.pid"} }

// plantPIDs writes the PID of a stranger into every PID file that Lima writes for a VM and its networks.
func plantPIDs(t *testing.T, dir instancedir.Dir, stranger process.Identity) {
	t.Helper()
	files := []string{filepath.Join(dir.Home, "_networks", "user-v2", "usernet_user-v2.pid")}
	for _, file := range pidFiles() {
		files = append(files, filepath.Join(dir.Path(), file))
	}
	for _, file := range files {
		err := os.MkdirAll(filepath.Dir(file), 0o700)
		if err == nil {
			err = os.WriteFile(file, []byte(strconv.Itoa(stranger.PID)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// plantLedger tells in the ledger of a VM of an earlier wearer of the PID of a stranger: only the start time differs. Where no
// process of the VM lives, that one is the head, too.
func plantLedger(t *testing.T, dir instancedir.Dir, stranger process.Identity, dead bool) {
	t.Helper()
	ledger, err := os.ReadFile(dir.Ledger())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	stranger.StartTime--
	line, err := json.Marshal(stranger)
	if err != nil {
		t.Fatal(err)
	}
	if dead {
		head, rest, _ := bytes.Cut(ledger, []byte("\n"))
		header := map[string]any{"version": 1}
		if len(head) > 0 {
			if err := json.Unmarshal(head, &header); err != nil {
				t.Fatal(err)
			}
		}
		header["head"] = stranger
		if head, err = json.Marshal(header); err != nil {
			t.Fatal(err)
		}
		ledger = bytes.Join([][]byte{head, rest}, []byte("\n"))
		if err := os.WriteFile(dir.Ledger(), ledger, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.OpenFile(dir.Ledger(), os.O_APPEND|os.O_WRONLY, 0) // a living agent has it open
	if err == nil {
		_, err = file.Write(append(line, '\n'))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// plantRecord makes a stranger the wearer of the PID that the record of a VM names, whose process is dead.
func plantRecord(t *testing.T, dir instancedir.Dir, stranger process.Identity) {
	t.Helper()
	path := filepath.Join(dir.RecordDir(), "record.json")
	text, err := os.ReadFile(path)
	record := map[string]any{}
	if err == nil {
		err = json.Unmarshal(text, &record)
	}
	stranger.StartTime--
	record["child"] = stranger
	if err == nil {
		text, err = json.Marshal(record)
	}
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// situation is where a VM stands when the PIDs of a stranger turn up in its files.
type situation struct {
	reach func(h *host)
	// dead: no process of the VM lives, so that the record and the head of the ledger may be a stranger's, too.
	dead bool
	// closed: reach has closed the driver; the operation begins with the next daemon.
	closed bool
	// grace of stops; zero is plenty for a VM that can be shut down.
	grace      time.Duration
	operations []string
	// untold are those of operations that touch nothing, so that nobody looks at the files.
	untold []string
}

func situations() map[string]situation {
	all := []string{"stop", "force stop", "restart", "reset", "delete", "adopt", "drain"}
	running := func(h *host, faults standin.Faults) {
		h.misbehave("one", faults)
		h.run("one")
	}
	stopping := func(h *host, faults standin.Faults) {
		running(h, faults)
		h.must(h.driver.Stop("one", time.Hour))
		h.reach("one", vm.Stopping)
	}
	return map[string]situation{
		"stopped": {
			reach: func(h *host) { h.create("one") }, dead: true,
			operations: []string{"start", "reset", "delete", "adopt", "drain"}, untold: []string{"adopt", "drain"},
		},
		"starting": {
			reach: func(h *host) {
				h.misbehave("one", standin.Faults{BootTime: time.Hour})
				h.create("one")
				h.must(h.driver.Start("one"))
				h.until("one", "a driver", func(got vm.Observed) bool { return got.Host != nil && !got.Host.Driver.IsZero() })
			},
			operations: all, untold: []string{"adopt"},
		},
		"running": {reach: func(h *host) { h.run("one") }, operations: all, untold: []string{"adopt"}},
		"running, daemon just restarted": {
			reach: func(h *host) { h.run("one"); h.must(h.driver.Close()) }, closed: true,
			operations: all, untold: []string{"adopt"},
		},
		"frozen": {
			reach: func(h *host) {
				stopping(h, standin.Faults{At: map[standin.Step]standin.Action{standin.AgentStopping: standin.Freeze}})
			},
			grace: time.Second, operations: []string{"force stop", "delete", "drain"},
		},
		"agent dead, driver alive": {
			reach: func(h *host) { got := h.run("one"); h.must(h.driver.Close()); h.kill(got.Host.Agent) },
			dead:  true, closed: true,
			operations: []string{"start", "reset", "delete", "adopt", "drain"},
		},
		"broken": {
			reach: func(h *host) { h.create("one"); h.must(os.Remove(h.dir("one").Template())) }, dead: true,
			operations: []string{"failing start", "reset", "delete", "adopt", "drain"}, untold: []string{"adopt", "drain"},
		},
		"restarting": { // it is still stopping
			reach: func(h *host) { stopping(h, standin.Faults{IgnorePower: true}) },
			grace: time.Second, operations: []string{"stop", "force stop", "restart", "reset", "delete", "drain"},
		},
		"daemon shutting down": {
			reach: func(h *host) {
				running(h, standin.Faults{IgnorePower: true})
				ctx, cancel := context.WithCancel(context.Background())
				h.Cleanup(cancel)
				go func() { _ = h.driver.Drain(ctx, func(string) time.Duration { return time.Hour }) }()
				h.reach("one", vm.Stopping)
			},
			grace: time.Second, operations: []string{"stop", "force stop", "delete", "drain"},
		},
		"deleting": {
			reach: func(h *host) {
				h.create("one")
				h.misbehave("one", standin.Faults{At: map[standin.Step]standin.Action{standin.DeleteBegins: standin.Hang}})
				h.must(h.driver.Delete("one"))
			},
			operations: []string{"give the deletion to the next daemon"},
		},
		"deleting, daemon just restarted": {
			reach: func(h *host) {
				h.create("one")
				h.misbehave("one", standin.Faults{At: map[standin.Step]standin.Action{standin.DeleteBegins: standin.Hang}})
				h.must(h.driver.Delete("one"))
				h.must(h.driver.Close())
				h.misbehave("one", standin.Faults{})
			},
			dead: true, closed: true, operations: []string{"give the deletion to the next daemon"},
		},
	}
}

// bring does what a reconciler does until the VM is in a state: Running, Stopped or Absent.
func (h *host) bring(target vm.State, grace time.Duration) {
	h.Helper()
	h.until("one", string(target), func(got vm.Observed) bool {
		h.Helper()
		switch {
		case got.State == target:
			return true
		case got.State == vm.Stopped && target == vm.Running:
			h.must(h.driver.Start("one"))
		case got.State == vm.Stopped && target == vm.Absent:
			h.must(h.driver.Delete("one"))
		case (got.State == vm.Starting || got.State == vm.Running || got.State == vm.Stopping) && target != vm.Running:
			_ = h.driver.Stop("one", grace) // refused when it has just ended
		}
		return false
	})
}

func operations() map[string]func(h *host, grace time.Duration) {
	return map[string]func(h *host, grace time.Duration){
		"start": func(h *host, grace time.Duration) { h.bring(vm.Running, grace) },
		"failing start": func(h *host, _ time.Duration) {
			h.must(h.driver.Start("one"))
			h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
		},
		"stop":       func(h *host, grace time.Duration) { h.bring(vm.Stopped, grace) },
		"force stop": func(h *host, _ time.Duration) { h.bring(vm.Stopped, 0) },
		"restart": func(h *host, grace time.Duration) {
			h.misbehave("one", standin.Faults{})
			h.bring(vm.Stopped, grace)
			h.bring(vm.Running, grace)
		},
		"reset":  func(h *host, grace time.Duration) { h.bring(vm.Absent, grace); h.create("one") },
		"delete": func(h *host, grace time.Duration) { h.bring(vm.Absent, grace) },
		"adopt": func(h *host, _ time.Duration) {
			before := h.observe("one")
			h.reopen()
			after := h.until("one", "known", func(got vm.Observed) bool { return got.State != vm.Unknown })
			if before.Host != nil && alive(before.Host.Agent) && (after.Host == nil || after.Host.Agent != before.Host.Agent) {
				h.Errorf("%+v was not adopted, but %+v", before.Host, after.Host)
			}
		},
		"give the deletion to the next daemon": func(h *host, _ time.Duration) {
			h.must(h.driver.Close())
			h.misbehave("one", standin.Faults{})
			h.open()
			h.reach("one", vm.Absent)
			if _, err := os.Lstat(h.dir("one").Path()); !os.IsNotExist(err) {
				h.Errorf("the directory: %v, want %v", err, fs.ErrNotExist)
			}
		},
		"drain": func(h *host, grace time.Duration) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			h.must(h.driver.Drain(ctx, func(string) time.Duration { return grace }))
		},
	}
}

// TestStrangersSurvive has the PID of a living process that is none of ours turn up in every file that names one, of a VM in
// every state, before every operation. The stranger lives, is told of, and the operation ends as it does without one.
//
// It fails when the driver, or the agent in its end, keeps the PID files or does not tell (instancedir.Clear), and when what
// acts on the record and the ledger trusts in a PID (process.Open without a look at the start time; process.Find of the PID in
// supervisor.endFamily).
func TestStrangersSurvive(t *testing.T) {
	t.Parallel()
	operations := operations()
	for name, at := range situations() {
		for _, operation := range at.operations {
			t.Run(name+"/"+operation, func(t *testing.T) {
				t.Parallel()
				stranger := neighbour(t)
				h := newHost(t)
				at.reach(h)
				dir := h.dir("one")
				plantPIDs(t, dir, stranger)
				_, err := os.Stat(dir.Ledger())
				if at.dead || err == nil {
					plantLedger(t, dir, stranger, at.dead)
				}
				if at.dead {
					plantRecord(t, dir, stranger)
				}
				if at.closed && operation != "adopt" {
					h.open()
				}
				h.forgetNotices("one")
				operations[operation](h, grace(at))
				h.observe("one")
				want := len(pidFiles())
				for _, untold := range at.untold {
					if untold == operation {
						want = 0
					}
				}
				if n := h.noticed("one", "ForeignProcess"); n != want {
					t.Errorf("%d of %d strangers were told", n, want)
				}
			})
		}
	}
}

func grace(at situation) time.Duration {
	if at.grace == 0 {
		return 20 * time.Second
	}
	return at.grace
}
