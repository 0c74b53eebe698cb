//go:build !darwin || cgo

// Lima's hostagent, which these tests run, needs cgo on a Mac.

package lima_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
	"github.com/seed-192657fa/rdd/process"
)

// patience only decides how long a broken driver takes to fail.
const patience = 4 * time.Minute

// watched is a driver with somebody who waits for its notifications and keeps its notices.
type watched struct {
	*lima.Driver
	home    string
	changed chan struct{}
	notices []vm.Notice
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{home: home(t), changed: make(chan struct{}, 1)}
	w.Driver = open(t, w.home, w.notify)
	return w
}

func (w *watched) notify(string) {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watched) reopen(t *testing.T) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Driver = open(t, w.home, w.notify)
}

func (w *watched) until(t *testing.T, what string, ok func(vm.Observed) bool) vm.Observed {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		got := w.Observe("one")
		w.notices = append(w.notices, got.Notices...)
		if ok(got) {
			return got
		}
		select {
		case <-w.changed:
		case <-timeout.C:
			t.Fatalf("never came to: %s; it is %s, failure %+v", what, got.State, got.Failure)
		}
	}
}

func (w *watched) reach(t *testing.T, state vm.State) vm.Observed {
	t.Helper()
	return w.until(t, string(state), func(got vm.Observed) bool { return got.State == state })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *watched) dir() instancedir.Dir { return instancedir.Dir{Home: w.home, Name: "one"} }

func (w *watched) create(t *testing.T) {
	t.Helper()
	must(t, w.Create("one", vm.Spec{Owner: "me", TemplateVersion: "1", Template: template(t, "guest-plain")}))
	if got := w.until(t, "created", func(got vm.Observed) bool { return got.State == vm.Stopped || got.Failure != nil }); got.Failure != nil {
		t.Fatalf("cannot create: %+v", *got.Failure)
	}
}

// boots starts the VM and waits until there is a QEMU.
func (w *watched) boots(t *testing.T) *vm.Host {
	t.Helper()
	must(t, w.Start("one"))
	return w.until(t, "a QEMU", func(got vm.Observed) bool { return got.Host != nil && !got.Host.Driver.IsZero() }).Host
}

func gone(id process.Identity) bool {
	handle, err := process.Open(id)
	if err == nil {
		_ = handle.Close()
	}
	return errors.Is(err, process.ErrGone)
}

// litter lists what a run leaves in Lima's directory, and must not.
func (w *watched) litter(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{"*.pid", "*.sock", "*.tmp"} {
		found, err := filepath.Glob(filepath.Join(w.dir().Path(), pattern))
		must(t, err)
		left = append(left, found...)
	}
	return left
}

func (w *watched) noticed(reason string) (n int) {
	for _, notice := range w.notices {
		if notice.Reason == reason {
			n++
		}
	}
	return n
}

// TestStrangersSurvive plants the PID of a living process, which is none of ours, in every file that Lima trusts.
func TestStrangersSurvive(t *testing.T) {
	w := watch(t)
	stranger, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
	must(t, err)
	t.Cleanup(func() { must(t, process.KillTree(context.Background(), stranger.Identity())) })
	files := []string{"ha.pid", "qemu.pid", "vz.drv.pid"}
	plant := func() {
		t.Helper()
		for _, file := range files {
			must(t, os.WriteFile(filepath.Join(w.dir().Path(), file), []byte(strconv.Itoa(stranger.Identity().PID)), 0o600))
		}
		w.notices = nil
	}
	told := func(when string) {
		t.Helper()
		if n := w.noticed("ForeignProcess"); n != len(files) {
			t.Errorf("%s: %d of %d strangers were told: %+v", when, n, len(files), w.notices)
		}
		if gone(stranger.Identity()) {
			t.Fatalf("%s: the stranger is dead", when)
		}
	}
	w.create(t)

	plant()
	w.boots(t)
	told("start")

	plant() // while it runs
	must(t, w.Stop("one", 0))
	w.reach(t, vm.Stopped)
	if gone(stranger.Identity()) {
		t.Fatal("stop by force: the stranger is dead")
	}

	w.boots(t)
	kill(t, agentOf(t, w.home, "one"))
	plant() // as the crash leaves them, and recycled meanwhile
	w.reach(t, vm.Stopped)
	if gone(stranger.Identity()) {
		t.Fatal("crash: the stranger is dead")
	}

	plant()
	must(t, w.Delete("one"))
	w.reach(t, vm.Absent)
	told("delete")
}

// TestDeadAgentTakesItsVMAlong kills the agent: QEMU, in a process group of its own, would go on without it.
func TestDeadAgentTakesItsVMAlong(t *testing.T) {
	w := watch(t)
	w.create(t)
	host := w.boots(t)
	kill(t, host.Agent)
	got := w.reach(t, vm.Stopped)
	if !gone(host.Driver) {
		t.Error("QEMU is alive, and the VM is reported as stopped")
	}
	if left := w.litter(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if got.Failure == nil || got.Failure.During != vm.OpStart || got.Failure.ExitStatus != "signal: killed" {
		t.Errorf("failure %+v", got.Failure)
	}
}

// TestDeadQEMUTakesItsAgentAlong kills QEMU.
func TestDeadQEMUTakesItsAgentAlong(t *testing.T) {
	w := watch(t)
	w.create(t)
	host := w.boots(t)
	kill(t, host.Driver)
	got := w.reach(t, vm.Stopped)
	if !gone(host.Agent) {
		t.Error("the agent is alive, and the VM is reported as stopped")
	}
	if left := w.litter(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if got.Failure == nil || !strings.Contains(got.Failure.Message, "ended by itself") || len(got.Failure.LogTail) == 0 {
		t.Errorf("failure %+v", got.Failure)
	}
}

// TestHungAgentIsEndedByForce stops the agent so that it neither answers nor hears signals.
func TestHungAgentIsEndedByForce(t *testing.T) {
	w := watch(t)
	w.create(t)
	host := w.boots(t)
	must(t, exec.Command("kill", "-STOP", strconv.Itoa(host.Agent.PID)).Run())
	must(t, w.Stop("one", time.Second))
	got := w.reach(t, vm.Stopped)
	if !gone(host.Agent) || !gone(host.Driver) {
		t.Error("something of the VM is alive")
	}
	if got.Failure != nil || w.noticed("ForcedStop") != 1 {
		t.Errorf("failure %+v, notices %+v", got.Failure, w.notices)
	}
}

// TestHungAgentsGuestIsShutDown has the agent of a guest that has booted be stopped: QEMU is asked in its place.
func TestHungAgentsGuestIsShutDown(t *testing.T) {
	w := watch(t)
	w.create(t)
	must(t, w.Start("one"))
	host := w.reach(t, vm.Running).Host
	must(t, exec.Command("kill", "-STOP", strconv.Itoa(host.Agent.PID)).Run())
	must(t, w.Stop("one", time.Minute))
	w.reach(t, vm.Stopped)
	if !gone(host.Agent) || !gone(host.Driver) {
		t.Error("something of the VM is alive")
	}
	if hung, forced := w.noticed("HungAgent"), w.noticed("ForcedStop"); hung != 1 || forced != 0 {
		t.Errorf("told %d times that the agent hung, %d times that force was used", hung, forced)
	}
}

// TestMuteAgentIsReplaced takes the control socket away between two daemons.
func TestMuteAgentIsReplaced(t *testing.T) {
	w := watch(t)
	w.create(t)
	host := w.boots(t)
	must(t, os.Remove(w.dir().ControlSocket()))
	w.reopen(t)
	// It is asked to end, by a signal, and gets its grace; nobody has to wait for that.
	w.reach(t, vm.Stopping)
	must(t, w.Stop("one", 0))
	got := w.reach(t, vm.Stopped)
	if !gone(host.Agent) || !gone(host.Driver) {
		t.Error("something of the VM is alive")
	}
	if got.Failure == nil || !strings.Contains(got.Failure.Message, "did not answer") {
		t.Errorf("failure %+v", got.Failure)
	}
}

// TestDaemonDiesWhileCreating closes the driver, as good as dead, in the middle of a creation.
func TestDaemonDiesWhileCreating(t *testing.T) {
	w := watch(t)
	for range 5 {
		must(t, w.Create("one", vm.Spec{Owner: "me", TemplateVersion: "1", Template: template(t, "guest-plain")}))
		w.until(t, "something to interrupt", func(got vm.Observed) bool { return got.Progress != nil || got.State == vm.Stopped })
		w.reopen(t)
		got := w.until(t, "the truth", func(got vm.Observed) bool { return got.State != vm.Unknown })
		switch got.State {
		case vm.Stopped:
			must(t, w.Delete("one"))
			w.reach(t, vm.Absent)
		case vm.Absent:
		default:
			t.Fatalf("it is %s", got.State)
		}
		for _, path := range []string{w.dir().Path(), w.dir().RecordDir()} {
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%s is still there: %v", path, err)
			}
		}
	}
	w.create(t)
}

// TestChildrenNeedADaemon starts them as a daemon does that dies before its record of them is safe.
func TestChildrenNeedADaemon(t *testing.T) {
	executable, err := os.Executable()
	must(t, err)
	home := home(t)
	must(t, os.MkdirAll(instancedir.Records(home), 0o700))
	for _, verb := range []string{"run", "create", "apply", "delete"} {
		cmd := exec.Command(executable, "hostagent", verb, "one")
		cmd.Env = append(os.Environ(), "LIMA_HOME="+home)
		cmd.Stdin = strings.NewReader(`{"protocol":1,"inst`)
		cmd.ExtraFiles = []*os.File{os.Stderr}
		output := &bytes.Buffer{}
		cmd.Stdout, cmd.Stderr = output, output
		if err := cmd.Run(); err == nil {
			t.Errorf("%s began without being told: %s", verb, output)
		}
	}
	entries, err := os.ReadDir(home)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("they have made %v", entries)
	}
}

func TestMissingQEMUIsNamed(t *testing.T) {
	ssh, err := exec.LookPath("ssh")
	must(t, err)
	bin := t.TempDir()
	must(t, os.Symlink(ssh, filepath.Join(bin, "ssh")))
	w := &watched{home: home(t), changed: make(chan struct{}, 1)}
	cfg := config(t, w.home, w.notify)
	cfg.Env = []string{"HOME=" + w.home, "PATH=" + bin}
	w.Driver, err = lima.New(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	must(t, w.Create("one", vm.Spec{Owner: "me", TemplateVersion: "1", Template: template(t, "guest-plain")}))
	got := w.until(t, "a failure", func(got vm.Observed) bool { return got.Failure != nil })
	if got.State != vm.Absent || !strings.Contains(got.Failure.Message, "install the package qemu-system-x86") {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	if _, err := os.Stat(w.dir().Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// TestGuestAgentGuest boots the guest with Lima's guest agent in it, which the other tests do without.
func TestGuestAgentGuest(t *testing.T) {
	w := watch(t)
	must(t, w.Create("one", vm.Spec{Owner: "me", TemplateVersion: "1", Template: template(t, "guest")}))
	w.reach(t, vm.Stopped)
	must(t, w.Start("one"))
	var stages []string
	got := w.until(t, "Running", func(got vm.Observed) bool {
		if got.Progress != nil && !slices.Contains(stages, got.Progress.Stage) {
			stages = append(stages, got.Progress.Stage)
		}
		return got.State == vm.Running || got.Failure != nil
	})
	if got.State != vm.Running || len(got.Degraded) != 0 {
		t.Fatalf("%s, degraded %v, failure %+v", got.State, got.Degraded, got.Failure)
	}
	for _, want := range []string{"Booting", "Waiting for ssh", "Waiting for the guest agent"} {
		if !slices.Contains(stages, want) {
			t.Errorf("stage %q was not told: %v", want, stages)
		}
	}
	log, err := os.ReadFile(w.dir().AgentLog())
	must(t, err)
	if asked := strings.Count(string(log), "executing script `ssh`"); asked != 1 {
		t.Errorf("Lima asked for ssh %d times: the first time was too early", asked)
	}
	must(t, w.Stop("one", time.Minute))
	if got := w.reach(t, vm.Stopped); got.Failure != nil || w.noticed("ForcedStop") != 0 {
		t.Errorf("failure %+v, notices %+v", got.Failure, w.notices)
	}
	if left := w.litter(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
