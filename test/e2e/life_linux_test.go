package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/process"
)

// TestLife takes one VM through all that can happen to it.
func TestLife(t *testing.T) {
	r := newRig(t)
	r.must("svc", "start")

	got := r.run("limavm", "create", "dev", r.guest())
	if got.code != 0 || !strings.Contains(got.stdout, "created") {
		t.Fatalf("create: exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if strings.ContainsAny(got.stderr, "\x1b\r") {
		t.Errorf("progress off a terminal has control characters: %q", got.stderr)
	}
	if output := r.must("limavm", "list", "-o", "name"); output != "dev\n" {
		t.Errorf("list -o name: %q", output)
	}
	r.want(1, "is not running", "limavm", "shell", "dev", "--", "true")

	t.Run("a wait that times out", func(t *testing.T) {
		r := r.sub(t)
		r.want(4, "context deadline exceeded", "limavm", "start", "dev", "--timeout=200ms")
	})
	t.Run("a wait that is interrupted", func(t *testing.T) {
		r.sub(t).interruptedStart()
	})
	// The work went on all the while.
	r.must("limavm", "start", "dev")
	t.Run("shell", func(t *testing.T) { r.sub(t).shell() })
	t.Run("files", func(t *testing.T) { r.sub(t).files() })
	t.Run("inspection", func(t *testing.T) { r.sub(t).inspection() })

	first := r.bootID("dev")
	r.in("dev", "sh", "-c", "echo precious > kept")
	if got := r.must("limavm", "stop", "dev"); !strings.Contains(got, "has stopped") {
		t.Errorf("stop: %q", got)
	}
	if _, forced := r.events("dev")[v1alpha1.EventForcedStop]; forced {
		t.Error("a healthy guest was stopped by force")
	}
	r.want(1, "is not running", "limavm", "cp", r.guest(), "dev:")
	r.must("limavm", "restart", "dev") // what does not run is started
	if second := r.bootID("dev"); second == first {
		t.Error("the guest did not boot again")
	}
	if got := r.in("dev", "cat", "kept"); got != "precious" {
		t.Errorf("what was written before a stop is gone: %q", got)
	}
	// A process of the guest's own goes on counting, whatever happens to the daemon.
	r.in("dev", "sh", "-c", "(while :; do echo >>counted; sleep 0.2; done) >/dev/null 2>&1 & echo $! >counter")
	t.Run("the daemon is killed", func(t *testing.T) { r.sub(t).daemonKilled() })
	t.Run("the daemon is restarted", func(t *testing.T) { r.sub(t).daemonRestarted() })
	t.Run("the hostagent is killed", func(t *testing.T) { r.sub(t).agentKilled() })
	t.Run("the service stops and starts", func(t *testing.T) { r.sub(t).serviceRestarted() })

	dir := r.vm("dev").Status.Instance.Directory
	r.must("limavm", "delete", "dev")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the instance's directory: %v, want it gone", err)
	}
	r.want(5, `there is no VM "dev"`, "limavm", "start", "dev")
	configs := r.must("ctl", "get", "configmap", "-o", "name")
	if strings.Contains(configs, "dev") {
		t.Errorf("ConfigMaps are left: %s", configs)
	}
	if output := r.must("svc", "stop"); !strings.Contains(output, "has stopped") {
		t.Errorf("svc stop: %q", output)
	}
	if left := r.processes(); len(left) > 0 {
		t.Errorf("after svc stop there still are %v", left)
	}
}

func (r *rig) shell() {
	if got := r.in("dev", "nproc"); got != "2" {
		r.Errorf("the guest has %s processors, want the template's 2, though it boots with one", got)
	}
	if got := r.in("dev", "echo", "a  b", "$HOME", "it's"); got != "a  b $HOME it's" {
		r.Errorf("arguments did not arrive as they are: %q", got)
	}
	if got := r.run("limavm", "shell", "dev", "--", "sh", "-c", "exit 7"); got.code != 7 {
		r.Errorf("exit status %d, want 7", got.code)
	}
	got := r.runWith(nil, "one\ntwo\n", "limavm", "shell", "dev", "--", "wc", "-l")
	if got.code != 0 || strings.TrimSpace(got.stdout) != "2" {
		r.Errorf("standard input: exit code %d, %q", got.code, got.stdout)
	}
	got = r.runWith(nil, "echo from stdin; exit 3\n", "limavm", "shell", "dev")
	if got.code != 3 || !strings.Contains(got.stdout, "from stdin") {
		r.Errorf("a shell that reads its standard input: exit code %d, %q", got.code, got.stdout)
	}
	if got := r.run("limavm", "shell", "dev", "--", "sh", "-c", "echo out; echo err >&2"); got.stdout != "out\n" || got.stderr != "err\n" {
		r.Errorf("standard output %q, standard error %q", got.stdout, got.stderr)
	}
	got = r.runWith([]string{"OURS=a b"}, "", "limavm", "shell", "dev", "--workdir", "/usr/bin", "--env", "ITS=it's", "--env", "OURS", "--",
		"sh", "-c", `pwd; echo "$ITS $OURS"`)
	if got.stdout != "/usr/bin\nit's a b\n" {
		r.Errorf("working directory and environment: %q, %s", got.stdout, got.stderr)
	}
	if got := r.run("limavm", "shell", "dev", "--workdir", "/nowhere", "--", "true"); got.code == 0 {
		r.Error("a working directory that is not there was no error")
	}
	if output := r.must("limavm", "list"); !strings.Contains(output, "127.0.0.1:") {
		r.Errorf("list: no ssh port in\n%s", output)
	}
	if output := r.must("limavm", "logs", "dev"); !strings.Contains(output, "QEMU") {
		r.Errorf("logs: no mention of QEMU in\n%s", output)
	}
}

// files go both ways, directories too, and ssh knows the VM by its configuration.
func (r *rig) files() {
	for path, content := range map[string]string{"one file": "1", "tree/deep/two": "2"} {
		if err := os.MkdirAll(filepath.Join(r.home, filepath.Dir(path)), 0o700); err != nil {
			r.Fatal(err)
		}
		r.file(path, content)
	}
	r.must("limavm", "cp", "-r", "one file", "tree", "dev:")
	if got := r.in("dev", "cat", "one file", "tree/deep/two"); got != "12" {
		r.Errorf("in the guest there is %q", got)
	}
	r.in("dev", "sh", "-c", "echo back > tree/three")
	r.must("limavm", "cp", "-r", "dev:tree", "copied")
	if content, err := os.ReadFile(filepath.Join(r.home, "copied", "three")); err != nil || string(content) != "back\n" {
		r.Errorf("what came back: %q, %v", content, err)
	}
	if got := r.run("limavm", "cp", "dev:nothing", "."); got.code == 0 {
		r.Error("what does not exist was copied")
	}
	path := strings.TrimSpace(r.must("limavm", "ssh-config", "dev", "-o", "path"))
	if got := r.exec("ssh", nil, "", "-F", path, "lima-dev", "echo", "by", "ssh"); got.stdout != "by ssh\n" {
		r.Errorf("ssh with the configuration: %+v", got)
	}
	if !strings.Contains(r.must("limavm", "ssh-config", "dev"), "Host lima-dev") {
		r.Error("the ssh configuration does not name the host")
	}
}

// inspection is all that shows what a VM does.
func (r *rig) inspection() {
	r.must("ctl", "wait-condition", "limavm/dev", "Running", "--reason", "Started", "--since", "startup")
	status := r.must("limavm", "status", "dev")
	for _, want := range []string{"Phase:", "Running", "127.0.0.1:", "hostagent ", "Conditions:", "Recent events:", "Started"} {
		if !strings.Contains(status, want) {
			r.Errorf("status does not show %q:\n%s", want, status)
		}
	}
	if events := r.must("limavm", "events", "dev"); !strings.Contains(events, "Starting") {
		r.Errorf("events:\n%s", events)
	}
	if serial := r.run("limavm", "logs", "dev", "--serial"); serial.code != 0 {
		r.Errorf("logs --serial: exit code %d, %s", serial.code, serial.stderr)
	}
}

// interruptedStart: Ctrl-C ends the waiting, not the work, and says so.
func (r *rig) interruptedStart() {
	stderr, err := os.Create(filepath.Join(r.home, "stderr"))
	if err != nil {
		r.Fatal(err)
	}
	defer stderr.Close()
	child := r.start(stderr, "limavm", "start", "dev")
	handle, err := process.Open(child.Identity())
	if err != nil {
		r.Fatal(err)
	}
	defer handle.Close()
	said := func() string {
		content, err := os.ReadFile(stderr.Name())
		if err != nil {
			r.Fatal(err)
		}
		return string(content)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(said(), "dev: ") && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if err := handle.Interrupt(); err != nil {
		r.Fatal(err)
	}
	select {
	case <-child.Done():
	case <-time.After(time.Minute):
		r.Fatal("an interrupt does not end the waiting")
	}
	if child.ExitCode() != 130 || !strings.Contains(said(), "goes on") {
		r.Errorf("%s, and it said: %s", child.ExitStatus(), said())
	}
	if !r.vm("dev").Spec.Running {
		r.Error("the interrupt undid the start")
	}
}

// daemonKilled: the VM does not notice, the next daemon adopts it.
func (r *rig) daemonKilled() {
	r.outlives(func() {
		r.kill(r.daemonPID())
		if !strings.Contains(r.must("svc", "status"), "running    false") {
			r.Error("svc status shows a daemon that was killed as running")
		}
	})
}

// daemonRestarted is the same with a daemon that was asked.
func (r *rig) daemonRestarted() {
	before := r.daemonPID()
	r.outlives(func() { r.must("svc", "restart") })
	if r.daemonPID() == before {
		r.Error("svc restart left the daemon as it was")
	}
}

// outlives sees to it that the VM does not notice what is done to the daemon, and that the next one adopts it.
func (r *rig) outlives(what func()) {
	before, id := r.vm("dev"), r.bootID("dev")
	what()
	after := r.until("dev", "adoption", func(vm *v1alpha1.LimaVM) bool {
		return isRunning(vm) && vm.Status.Host != nil && vm.Status.Host.Adopted
	})
	if got := r.bootID("dev"); got != id {
		r.Error("the guest has booted again")
	}
	if after.Status.Host.PID != before.Status.Host.PID || after.Status.RestartCount != before.Status.RestartCount {
		r.Errorf("before: agent %d, restarts %d; after: agent %d, restarts %d", before.Status.Host.PID, before.Status.RestartCount,
			after.Status.Host.PID, after.Status.RestartCount)
	}
	if len(r.events("dev")[v1alpha1.EventAdopted]) == 0 {
		r.Error("no event tells of the adoption")
	}
	r.in("dev", "sh", "-c", "kill -0 $(cat counter); n=$(wc -l <counted); while [ $(wc -l <counted) = $n ]; do sleep 0.1; done")
}

// agentKilled: what the agent leaves is ended, and the VM is started again.
func (r *rig) agentKilled() {
	before, id := r.vm("dev"), r.bootID("dev")
	r.in("dev", "sync")
	r.kill(int(before.Status.Host.PID))
	after := r.until("dev", "restart", func(vm *v1alpha1.LimaVM) bool {
		return isRunning(vm) && vm.Status.Host != nil && vm.Status.Host.Identity != before.Status.Host.Identity
	})
	if after.Status.RestartCount != before.Status.RestartCount+1 {
		r.Errorf("restart count %d, want %d", after.Status.RestartCount, before.Status.RestartCount+1)
	}
	if _, err := process.Find(int(before.Status.Host.DriverPID)); err == nil && before.Status.Host.DriverPID != 0 {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", before.Status.Host.DriverPID))
		if bytes.Contains(command, []byte(r.home)) {
			r.Errorf("the orphaned QEMU %d goes on", before.Status.Host.DriverPID)
		}
	}
	if got := r.bootID("dev"); got == id {
		r.Error("the guest was not started again")
	}
	if got := r.in("dev", "cat", "kept"); got != "precious" {
		r.Errorf("what was written is gone: %q", got)
	}
	if len(r.events("dev")[v1alpha1.EventCrashed]) == 0 {
		r.Error("no event tells of the crash")
	}
}

// serviceRestarted: svc stop shuts the guest down, and does not shoot it: what it wrote a moment before is there afterwards.
func (r *rig) serviceRestarted() {
	id := r.bootID("dev")
	r.must("svc", "stop", "--keep-vms")
	if len(r.processes()) == 0 {
		r.Error("svc stop --keep-vms left no VM running")
	}
	if got := r.in("dev", "cat", "/proc/sys/kernel/random/boot_id"); got != id { // which starts the control plane
		r.Error("the guest has booted again")
	}
	r.in("dev", "sh", "-c", "echo unsynced > fresh")
	r.kill(r.daemonPID())
	r.must("svc", "stop") // with no daemon, but a VM
	if left := r.processes(); len(left) > 0 {
		r.Errorf("after svc stop there still are %v", left)
	}
	r.must("svc", "start")
	// Until the new daemon has looked, the status is what the killed one left.
	r.until("dev", "start", func(vm *v1alpha1.LimaVM) bool {
		return isRunning(vm) && vm.Status.Host != nil && !vm.Status.Host.Adopted
	})
	if r.bootID("dev") == id {
		r.Error("svc stop left the guest running")
	}
	if got := r.in("dev", "cat", "fresh"); got != "unsynced" {
		r.Errorf("what was written just before svc stop is gone: %q", got)
	}
}
