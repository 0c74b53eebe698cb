package faults

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// homeVariable says that this process is a test that has a mount namespace of its own, and where it may mount something.
const homeVariable = "RDD_TEST_MOUNT"

// onOwnDisk runs the test that calls it once more, in a mount namespace of its own, with a small file system at the LIMA_HOME of
// its host; it returns nil in the process that only waits for that.
func onOwnDisk(t *testing.T) *host {
	t.Helper()
	if home := os.Getenv(homeVariable); home != "" {
		if err := unix.Mount("standin", home, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		h := newHostAt(t, home)
		return h
	}
	home, err := os.MkdirTemp("/tmp", "rdd") //nolint:usetesting // the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(home)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), homeVariable+"="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	// What is mounted inside must not show outside.
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	return nil
}

// trouble is something that keeps everybody from writing below a LIMA_HOME.
type trouble struct {
	begin, end func(h *host)
	want       string // in what is told of it
}

func troubles() map[string]trouble {
	filler := func(h *host) string { return filepath.Join(h.home, "filler") }
	return map[string]trouble{
		"full": {
			func(h *host) {
				file, err := os.Create(filler(h))
				h.must(err)
				for size := 64 << 10; size > 0; size /= 2 {
					for err = nil; err == nil; {
						_, err = file.Write(make([]byte, size))
					}
				}
				if !errors.Is(err, syscall.ENOSPC) {
					h.Fatal(err)
				}
				h.must(file.Close())
			},
			func(h *host) { h.must(os.Remove(filler(h))) },
			"no space left on device",
		},
		"read-only": {
			func(h *host) { h.must(unix.Mount("", h.home, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")) },
			func(h *host) { h.must(unix.Mount("", h.home, "", unix.MS_REMOUNT, "")) },
			"read-only file system",
		},
	}
}

// TestTroubledDisk has the disk be full, or read-only, when something is asked for. That is told with its reason, nothing is
// lost, and the same request works when the trouble is over.
func TestTroubledDisk(t *testing.T) {
	h := onOwnDisk(t)
	if h == nil {
		return
	}
	other := spec()
	other.TemplateVersion, other.Template = "2", lines("cpus: 1", "memory: 1GiB")
	for name, trouble := range troubles() {
		for _, test := range []struct {
			during  vm.Operation
			prepare func()
			ask     func() error
			then    func() // when the trouble is over
		}{
			{vm.OpCreate, func() {}, func() error { return h.driver.Create("one", spec()) }, func() { h.create("one") }},
			{vm.OpApply, func() {}, func() error { return h.driver.Apply("one", other) }, func() {
				h.must(h.driver.Apply("one", other))
				h.until("one", "another template", func(got vm.Observed) bool { return got.TemplateVersion == "2" })
			}},
			{vm.OpStart, func() {}, func() error { return h.driver.Start("one") }, func() {
				h.reach("one", vm.Stopped)
				h.start("one")
				h.must(h.driver.Stop("one", patience))
				h.reach("one", vm.Stopped)
				if boots := h.boots("one"); len(boots) != 1 || !boots[0] {
					h.Errorf("%s: boots %v", name, boots)
				}
			}},
		} {
			t.Log(name, test.during)
			test.prepare()
			trouble.begin(h)
			h.must(test.ask())
			got := h.until("one", "a failure", func(got vm.Observed) bool { return got.Failure != nil })
			if told := got.Failure.Message; !strings.Contains(told, trouble.want) {
				t.Errorf("%s, %s: told of %s: %s, %q", name, test.during, got.Failure.During, told, got.Failure.LogTail)
			}
			trouble.end(h)
			test.then()
		}
		trouble.begin(h)
		if name == "full" { // of a VM that was about to run, too
			h.must(h.driver.Start("one"))
			h.until("one", "the end of a start", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
		}
		h.must(h.driver.Delete("one"))
		if name == "full" { // that is what people do against it
			h.reach("one", vm.Absent)
			trouble.end(h)
			continue
		}
		got := h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
		if !strings.Contains(got.Failure.Message, trouble.want) {
			t.Errorf("%s: %+v", name, got.Failure)
		}
		trouble.end(h)
		h.must(h.driver.Delete("one"))
		h.reach("one", vm.Absent)
	}
	if left, err := os.ReadDir(instancedir.Records(h.home)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestCrashOnAFullDisk has an agent die when nothing can be written.
func TestCrashOnAFullDisk(t *testing.T) {
	h := onOwnDisk(t)
	if h == nil {
		return
	}
	full := troubles()["full"]
	running := h.run("one")
	members := h.family("one")
	full.begin(h)
	h.kill(running.Host.Agent)
	got := h.reach("one", vm.Stopped)
	h.expectGone(members)
	if got.Failure == nil || got.Failure.During != vm.OpRun || got.Failure.Count != 1 {
		t.Errorf("%+v", got.Failure)
	}
	full.end(h)
	h.start("one")
	h.remove("one")
}

// TestProtectedOnAFullDisk has a deletion that cannot be recorded be refused for an instance that is protected.
func TestProtectedOnAFullDisk(t *testing.T) {
	h := onOwnDisk(t)
	if h == nil {
		return
	}
	full := troubles()["full"]
	h.create("one")
	protected := filepath.Join(h.dir("one").Path(), "protected")
	h.must(os.WriteFile(protected, nil, 0o600))
	full.begin(h)
	h.must(h.driver.Delete("one"))
	got := h.until("one", "a failure", func(got vm.Observed) bool { return got.Failure != nil || got.State == vm.Absent })
	if got.State != vm.Stopped || !strings.Contains(got.Failure.Message, "limactl unprotect") {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	h.must(os.Remove(protected))
	h.must(h.driver.Delete("one"))
	h.reach("one", vm.Absent)
	full.end(h)
}

// TestUnrecordedFailure has a start fail for want of room. That is recorded as soon as there is some, though nobody asks for anything.
func TestUnrecordedFailure(t *testing.T) {
	h := onOwnDisk(t)
	if h == nil {
		return
	}
	recorded := func() bool {
		text, err := os.ReadFile(filepath.Join(h.dir("one").RecordDir(), "record.json"))
		h.must(err)
		return strings.Contains(string(text), `"failures": 1`)
	}
	full := troubles()["full"]
	h.create("one")
	full.begin(h)
	h.must(h.driver.Start("one"))
	before := h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil }).Failure
	if recorded() {
		t.Error("there was room")
	}
	full.end(h)
	for deadline := time.Now().Add(patience); !recorded(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the failure was never recorded")
		}
	}
	h.reopen()
	if got := h.reach("one", vm.Stopped); got.Failure == nil || got.Failure.Message != before.Message || got.Failure.Count != 1 {
		t.Errorf("%+v", got.Failure)
	}
	h.start("one")
	h.remove("one")
}

// forbid keeps everybody, root as well, from changing what is in a directory, wherever it is moved, until allow is called.
func forbid(t *testing.T, dir string) (allow func()) {
	t.Helper()
	handle, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = handle.Close() })
	change := func(mode os.FileMode, set uint32) {
		t.Helper()
		if os.Geteuid() != 0 {
			if err := handle.Chmod(mode); err != nil {
				t.Fatal(err)
			}
			return
		}
		const immutable = 0x10 // FS_IMMUTABLE_FL
		flags, err := unix.IoctlGetUint32(int(handle.Fd()), unix.FS_IOC_GETFLAGS)
		if err == nil {
			err = unix.IoctlSetPointerInt(int(handle.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^immutable|set*immutable))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	change(0o500, 1)
	return func() { change(0o700, 0) }
}

// TestInterruptedRemovalIsFinished has "rdd svc delete" fail half-way: some of it is gone, and the next one removes the rest.
func TestInterruptedRemovalIsFinished(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch()
	s.make("one")
	_, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience})
	s.must(err)
	below := filepath.Join(s.dir("one").Path(), "below")
	s.must(os.Mkdir(below, 0o700))
	s.must(os.WriteFile(filepath.Join(below, "file"), nil, 0o600))
	allow := forbid(t, below)
	if err := daemon.Remove(t.Context(), s.cfg); err == nil {
		t.Error("what nobody may remove was removed")
	}
	allow()
	s.must(daemon.Remove(t.Context(), s.cfg))
	for _, path := range []string{s.cfg.Instance.Dir, s.cfg.Instance.ShortDir} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// TestSilentAgent has an agent that cannot begin its journal: why is told all the same.
func TestSilentAgent(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.create("one")
	h.must(os.MkdirAll(filepath.Join(h.dir("one").Journal(), "in the way"), 0o700))
	h.must(h.driver.Start("one"))
	got := h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
	if got.Failure.During != vm.OpStart || !strings.Contains(got.Failure.Message, "cannot begin the event journal") {
		t.Errorf("%+v", got.Failure)
	}
	h.must(os.RemoveAll(h.dir("one").Journal()))
	h.start("one")
	h.remove("one")
}
