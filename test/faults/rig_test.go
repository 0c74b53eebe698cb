package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
	"github.com/seed-192657fa/rdd/process"
)

// patience bounds each wait. It only decides how long a broken driver takes to fail.
const patience = 3 * time.Minute

var (
	// program is what the driver starts in place of rdd.
	program string
	// workshop is where it was built, and daemons are.
	workshop string
)

// buildDaemon builds the daemon of test/daemon, once.
var buildDaemon = sync.OnceValues(func() (string, error) { return build("") })

// build builds the daemon with a tag, and the stand-in beside it, as the product is built: most of it has been compiled then.
func build(tag string) (string, error) {
	dir := filepath.Join(workshop, "daemon-"+tag)
	command := exec.Command("bash", "-c", `cd ../.. && . scripts/env && go build -tags "$1" -o "$2/" ./test/daemon ./test/standin`, "build", tag, dir)
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the daemon: %w\n%s", err, output)
	}
	return filepath.Join(dir, "daemon"), nil
}

// initVerb is the first argument that makes this program the first process of a PID namespace, in which it runs tests.
const initVerb = "init"

// builtProgram is the environment variable that names it to a test that runs in a PID namespace.
const builtProgram = "FAULTS_PROGRAM"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == serveVerb {
		if err := serve(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "Error:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == initVerb {
		os.Exit(beInit(os.Args[2:]))
	}
	if program = os.Getenv(builtProgram); program != "" { // in a PID namespace
		os.Exit(m.Run())
	}
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "standin-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program, workshop = filepath.Join(dir, "standin"), dir
	build := exec.Command("go", "build", "-o", program, "../standin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("cannot build the stand-in: %w\n%s", err, output)
	}
	return m.Run(), nil
}

// host is a LIMA_HOME and the driver of its VMs, with somebody who waits for its notifications and keeps its notices.
type host struct {
	*testing.T
	home   string
	driver *lima.Driver

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, on every change
	notices map[string][]vm.Notice
	states  map[string][]vm.State // without repetitions
}

// newHost makes one that is empty. It checks in the end that nothing of its VMs is left running.
func newHost(t *testing.T) *host {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "rdd") //nolint:usetesting // the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	return newHostAt(t, home)
}

// newHostAt makes one in a directory that is there and empty.
func newHostAt(t *testing.T, home string) *host {
	t.Helper()
	h := &host{T: t, home: home, changed: make(chan struct{}), notices: map[string][]vm.Notice{}, states: map[string][]vm.State{}}
	t.Cleanup(h.endAll)
	h.open()
	return h
}

// endAll ends whatever a test has left running, as the last line of defence: tests end what they start.
func (h *host) endAll() {
	records, err := os.ReadDir(instancedir.Records(h.home))
	h.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, record := range records {
		if _, err := (instancedir.Dir{Home: h.home, Name: record.Name()}).EndFamily(ctx); err != nil {
			h.Error(err)
		}
	}
}

func (h *host) config(notify func(string)) lima.Config {
	return lima.Config{
		Home: h.home, Executable: program, GuestAgentDir: h.home, Notify: notify,
		Env: []string{"HOME=" + h.home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()},
		Log: slog.New(slog.NewTextHandler(h.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
}

// open makes the driver, as a daemon does that starts.
func (h *host) open() {
	h.Helper()
	driver, err := lima.New(h.config(h.notify))
	h.must(err)
	h.driver = driver
	h.Cleanup(func() { h.must(driver.Close()) })
}

// reopen closes the driver, as good as a daemon that dies, and makes the next one.
func (h *host) reopen() {
	h.Helper()
	h.must(h.driver.Close())
	h.open()
}

func (h *host) notify(string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *host) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) observe(name string) vm.Observed {
	got := h.driver.Observe(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notices[name] = append(h.notices[name], got.Notices...)
	if states := h.states[name]; len(states) == 0 || states[len(states)-1] != got.State {
		h.states[name] = append(states, got.State)
	}
	return got
}

// until waits for an observation that satisfies ok.
func (h *host) until(name, what string, ok func(vm.Observed) bool) vm.Observed {
	h.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		h.mu.Lock()
		changed := h.changed
		h.mu.Unlock()
		got := h.observe(name)
		if ok(got) {
			return got
		}
		select {
		case <-changed:
		case <-timeout.C:
			h.Fatalf("%s never came to: %s; it is %s, failure %+v", name, what, got.State, got.Failure)
		}
	}
}

func (h *host) reach(name string, state vm.State) vm.Observed {
	h.Helper()
	return h.until(name, string(state), func(got vm.Observed) bool { return got.State == state })
}

// noticed counts what was told about a VM under one reason.
func (h *host) noticed(name, reason string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, notice := range h.notices[name] {
		if notice.Reason == reason {
			n++
		}
	}
	return n
}

func (h *host) forgetNotices(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.notices, name)
}

func (h *host) dir(name string) instancedir.Dir { return instancedir.Dir{Home: h.home, Name: name} }

// misbehave sets the faults of the children of a VM that start from now on.
func (h *host) misbehave(name string, faults standin.Faults) {
	h.Helper()
	h.must(standin.SetFaults(h.home, name, faults))
}

const template = "cpus: 2\nmemory: 512MiB\n"

func spec() vm.Spec { return vm.Spec{Owner: "me", TemplateVersion: "1", Template: []byte(template)} }

func (h *host) create(name string) {
	h.Helper()
	h.must(h.driver.Create(name, spec()))
	h.reach(name, vm.Stopped)
}

// run creates a VM and brings it to Running.
func (h *host) run(name string) vm.Observed {
	h.Helper()
	h.create(name)
	return h.start(name)
}

func (h *host) start(name string) vm.Observed {
	h.Helper()
	h.must(h.driver.Start(name))
	return h.reach(name, vm.Running)
}

// remove stops a VM by force and deletes it.
func (h *host) remove(name string) {
	h.Helper()
	h.must(h.driver.Stop(name, 0))
	h.reach(name, vm.Stopped)
	h.must(h.driver.Delete(name))
	h.reach(name, vm.Absent)
}

// family lists the living processes of a VM.
func (h *host) family(name string) []process.Identity {
	h.Helper()
	family, err := process.ReadFamily(h.dir(name).Ledger())
	h.must(err)
	members, err := family.Members()
	h.must(err)
	return members
}

// grown waits until a VM's family has exactly that many members: strays are forked behind the back of whoever says that it
// runs, so that there are fewer at first, and for a moment more, those through which the strays are forked.
func (h *host) grown(name string, members int) []process.Identity {
	h.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		found := h.family(name)
		if len(found) == members {
			return found
		}
		if time.Now().After(deadline) {
			h.Fatalf("%d processes of %d: %v", len(found), members, found)
		}
	}
}

// boots tells of each boot of the guest whether it was shut down.
func (h *host) boots(name string) []bool {
	h.Helper()
	boots, err := standin.Boots(h.dir(name))
	h.must(err)
	return boots
}

// kill ends processes at once, one right after the other, and then waits for their end.
func (h *host) kill(ids ...process.Identity) {
	h.Helper()
	var handles []*process.Handle
	for _, id := range ids {
		handle, err := process.Open(id)
		if errors.Is(err, process.ErrGone) {
			continue
		}
		h.must(err)
		if err := handle.Kill(); !errors.Is(err, process.ErrGone) {
			h.must(err)
		}
		handles = append(handles, handle)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, handle := range handles {
		h.must(handle.Wait(ctx))
		h.must(handle.Close())
	}
}

func alive(id process.Identity) bool {
	handle, err := process.Open(id)
	if err == nil {
		_ = handle.Close()
	}
	return !errors.Is(err, process.ErrGone)
}

// expectGone fails for each process of a VM that lives.
func (h *host) expectGone(ids []process.Identity) {
	h.Helper()
	for _, id := range ids {
		if alive(id) {
			h.Errorf("process %v is left alive", id)
		}
	}
}

// expectTidy fails for each file that a run leaves behind.
func (h *host) expectTidy(name string) {
	h.Helper()
	for _, pattern := range []string{
		filepath.Join(h.dir(name).Path(), "*.pid"), filepath.Join(h.dir(name).Path(), "*.sock"), filepath.Join(h.dir(name).Path(), "*.tmp"),
		h.dir(name).ControlSocket(), h.dir(name).Ledger(),
	} {
		found, err := filepath.Glob(pattern)
		h.must(err)
		for _, path := range found {
			h.Errorf("left behind: %s", path)
		}
	}
	if locks := h.locks(name); len(locks) > 0 {
		h.Errorf("locks are left behind: %v", locks)
	}
}

// locks lists the disks that a VM has locked.
func (h *host) locks(name string) (held []string) {
	h.Helper()
	locks, err := filepath.Glob(filepath.Join(h.home, "_disks", "*", "in_use_by"))
	h.must(err)
	return slices.DeleteFunc(locks, func(lock string) bool {
		holder, err := os.Readlink(lock)
		return err != nil || holder != h.dir(name).Path()
	})
}

// neighbour starts a process that has nothing to do with rdd, and fails the test if it has ended before that.
func neighbour(t *testing.T) process.Identity {
	t.Helper()
	child, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-child.Done():
			t.Errorf("a stranger is dead: %s", child.ExitStatus())
		default:
		}
		if err := process.KillTree(context.Background(), child.Identity()); err != nil {
			t.Error(err)
		}
	})
	return child.Identity()
}

func lines(text ...string) []byte { return []byte(strings.Join(text, "\n") + "\n") }
