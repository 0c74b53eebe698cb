package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// beInit is the first process of a PID namespace. It runs this program with args, and reaps whoever loses its parent, so that PIDs get free. It returns an exit code.
func beInit(args []string) int {
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, "")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	tests, err := os.StartProcess(self, append([]string{self}, args...), &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if pid == tests.Pid {
			return status.ExitStatus()
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}

// TestRecycledPIDs runs the tests below in a PID namespace, where one may say which PID comes next.
func TestRecycledPIDs(t *testing.T) {
	if inNamespace() {
		return
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, initVerb, "-test.v", "-test.run=^TestInNamespace")
	cmd.Env = append(os.Environ(), builtProgram+"="+program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		t.Fatal("this system lets no ordinary user make a PID namespace: run this test as root")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// inNamespace tells whether this program was started by TestRecycledPIDs.
func inNamespace() bool { return os.Getenv(builtProgram) != "" }

// recycle kills processes and gives exactly their PIDs to others that have nothing to do with rdd. The start time is then all
// that tells one from the other. It fails the test if one of the others has ended before that.
func recycle(t *testing.T, h *host, victims ...process.Identity) {
	t.Helper()
	h.kill(victims...)
	for _, victim := range victims {
		for deadline := time.Now().Add(patience); ; {
			h.must(os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(victim.PID-1)), 0))
			child, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
			h.must(err)
			got := child.Identity()
			if got.PID == victim.PID && got != victim {
				t.Cleanup(func() {
					select {
					case <-child.Done():
						t.Errorf("the stranger with the PID of %v is dead: %s", victim, child.ExitStatus())
					default:
						h.kill(got)
					}
				})
				break
			}
			h.kill(got) // some thread was faster, or nobody has reaped the victim yet
			<-child.Done()
			if time.Now().After(deadline) {
				t.Fatalf("%v gets no successor", victim)
			}
		}
	}
}

// TestInNamespaceRecycledAgent: agent and driver have died unwatched, and others have got their PIDs, which the record, the
// ledger, ha.pid and the driver's PID file still name. It fails without the look at the start time in process.Open.
func TestInNamespaceRecycledAgent(t *testing.T) {
	if !inNamespace() {
		return
	}
	operations := operations()
	for _, operation := range []string{"start", "reset", "delete", "adopt", "drain"} {
		t.Run(operation, func(t *testing.T) {
			h := newHost(t)
			before := h.run("one").Host
			members := h.family("one")
			h.must(h.driver.Close())
			recycle(t, h, before.Agent, before.Driver)
			if operation != "adopt" {
				h.open()
			}
			operations[operation](h, 20*time.Second)
			h.expectGone(members)
			state, known := map[string]vm.State{"start": vm.Running, "delete": vm.Absent}[operation]
			if !known {
				state = vm.Stopped
			}
			h.reach("one", state)
			h.bring(vm.Absent, 0)
			h.expectTidy("one")
		})
	}
}

// TestInNamespaceRecycledDaemon: others have got the PIDs of the daemon and of the agent.
func TestInNamespaceRecycledDaemon(t *testing.T) {
	if !inNamespace() {
		return
	}
	s := newSite(t)
	s.launch()
	s.make("one")
	s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = true })
	before := s.awaitPhase("one", v1alpha1.PhaseRunning)
	record, err := daemon.Find(s.cfg.Instance)
	s.must(err)
	family, err := process.ReadFamily(s.dir("one").Ledger())
	s.must(err)
	members := s.family("one")
	recycle(t, s.host, record.Identity, family.Head)

	if found, err := daemon.Find(s.cfg.Instance); found != nil || err != nil {
		t.Errorf("svc status finds %+v (%v)", found, err)
	}
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: time.Second}); was || err != nil {
		t.Errorf("svc stop of a dead daemon: %t, %v", was, err)
	}
	s.launch() // which fails if somebody else is taken for a running daemon
	s.awaitVM("one", "another agent", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Identity != before.Status.Host.Identity
	})
	s.expectGone(members)
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
		t.Errorf("svc stop: %t, %v", was, err)
	}
	s.expectTidy("one")
}
