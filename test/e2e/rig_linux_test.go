package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/process"
)

// What the tests share: the binary, and the directory with the guest that they boot.
var binary, guestDir string

func TestMain(m *testing.M) {
	code, err := prepare(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func prepare(m *testing.M) (int, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return 0, err
	}
	binary = os.Getenv("RDD_BIN")
	if binary == "" {
		binary = filepath.Join(root, "bin", "rdd")
		if output, err := exec.Command(filepath.Join(root, "scripts", "build")).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("cannot build rdd: %w\n%s", err, output)
		}
	}
	build := exec.Command(filepath.Join(root, "test", "guest", "build"))
	build.Stderr = os.Stderr
	output, err := build.Output()
	if err != nil {
		return 0, fmt.Errorf("cannot build the guest: %w", err)
	}
	guestDir = strings.TrimSpace(string(output))
	return m.Run(), nil
}

// commandTime bounds every single command; a boot takes 10 seconds, or a minute where the machine is busy.
const commandTime = 4 * time.Minute

// rig is one user's computer: a home directory of its own, and what runs in it.
type rig struct {
	*testing.T
	home string
	env  []string
}

// newRig makes a home that is short enough for sockets, and checks in the end that nothing of it is left running.
func newRig(t *testing.T) *rig {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "e2e") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, home: home, env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "RDD_LOG_LEVEL=debug"}}
	t.Cleanup(func() {
		if t.Failed() {
			r.showLogs()
		}
		if got := r.run("svc", "delete", "--timeout=90s"); got.code != 0 {
			t.Errorf("svc delete: exit code %d, %s", got.code, got.stderr)
		}
		r.endLeftovers()
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	return r
}

// result is what came of a command.
type result struct {
	stdout, stderr string
	code           int
}

// sub is the same computer in a subtest.
func (r *rig) sub(t *testing.T) *rig { return &rig{t, r.home, r.env} }

func (r *rig) run(args ...string) result { return r.runWith(nil, "", args...) }

// runWith runs rdd with more environment, and input.
func (r *rig) runWith(env []string, stdin string, args ...string) result {
	r.Helper()
	return r.exec(binary, env, stdin, args...)
}

func (r *rig) exec(program string, env []string, stdin string, args ...string) result {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, program, args...)
	command.Env = append(slices.Clone(r.env), env...)
	command.Dir = r.home
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := command.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		r.Fatalf("cannot run %s %q: %v", program, args, err)
	}
	if ctx.Err() != nil {
		r.Errorf("rdd %q did not end within %s", args, commandTime)
	}
	return result{stdout.String(), stderr.String(), command.ProcessState.ExitCode()}
}

// must runs rdd, which must succeed, and returns what it printed.
func (r *rig) must(args ...string) string {
	r.Helper()
	got := r.run(args...)
	if got.code != 0 {
		r.Fatalf("rdd %s: exit code %d\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	return got.stdout
}

// want runs rdd, which must end with an exit code and say something on standard error.
func (r *rig) want(code int, says string, args ...string) result {
	r.Helper()
	got := r.run(args...)
	if got.code != code || !strings.Contains(got.stderr, says) {
		r.Errorf("rdd %s: exit code %d, want %d, and %q in: %s", strings.Join(args, " "), got.code, code, says, got.stderr)
	}
	return got
}

// start starts rdd in the background; the test waits for it.
func (r *rig) start(stderr *os.File, args ...string) *process.Child {
	r.Helper()
	child, err := process.Start(process.Command{
		Path: binary, Args: append([]string{binary}, args...), Env: r.env, Dir: r.home, Stderr: stderr,
	})
	if err != nil {
		r.Fatal(err)
	}
	return child
}

// vm reads a VM's object.
func (r *rig) vm(name string) *v1alpha1.LimaVM {
	r.Helper()
	vm := &v1alpha1.LimaVM{}
	if err := json.Unmarshal([]byte(r.must("ctl", "get", "limavm", name, "-o", "json")), vm); err != nil {
		r.Fatal(err)
	}
	return vm
}

// until waits for something about a VM, which it looks at ten times a second.
func (r *rig) until(name, what string, is func(*v1alpha1.LimaVM) bool) *v1alpha1.LimaVM {
	r.Helper()
	deadline := time.Now().Add(commandTime)
	for {
		vm := r.vm(name)
		if is(vm) {
			return vm
		}
		if time.Now().After(deadline) {
			r.Fatalf("VM %s: no %s within %s; status: %+v", name, what, commandTime, vm.Status)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func isRunning(vm *v1alpha1.LimaVM) bool {
	return meta.IsStatusConditionTrue(vm.Status.Conditions, v1alpha1.ConditionRunning)
}

// in runs a command in a VM.
func (r *rig) in(name string, command ...string) string {
	r.Helper()
	return strings.TrimSpace(r.must(append([]string{"limavm", "shell", name, "--"}, command...)...))
}

// bootID changes each time a guest boots.
func (r *rig) bootID(name string) string {
	r.Helper()
	return r.in(name, "cat", "/proc/sys/kernel/random/boot_id")
}

// events returns those about a VM, by reason.
func (r *rig) events(name string) map[string][]string {
	r.Helper()
	var list corev1.EventList
	output := r.must("ctl", "get", "events", "--field-selector", "involvedObject.name="+name, "-o", "json")
	if err := json.Unmarshal([]byte(output), &list); err != nil {
		r.Fatal(err)
	}
	found := map[string][]string{}
	for _, event := range list.Items {
		found[event.Reason] = append(found[event.Reason], event.Message)
	}
	return found
}

// kill ends a process at once.
func (r *rig) kill(pid int) {
	r.Helper()
	id, err := process.Find(pid)
	if err != nil {
		r.Fatal(err)
	}
	handle, err := process.Open(id)
	if err != nil {
		r.Fatal(err)
	}
	defer handle.Close()
	if err := handle.Kill(); err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := handle.Wait(ctx); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) daemonPID() int {
	r.Helper()
	content, err := os.ReadFile(strings.TrimSpace(r.must("svc", "paths", "RDD_PID_FILE")))
	if err != nil {
		r.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		r.Fatal(err)
	}
	return pid
}

// file writes a file into the rig's home, and returns its path.
func (r *rig) file(name, content string) string {
	r.Helper()
	path := filepath.Join(r.home, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// guest is the template of the guest.
func (r *rig) guest() string { return filepath.Join(guestDir, "guest.yaml") }

// plain is that of the guest that boots faster, without guest agent and port forwards.
func (r *rig) plain() string { return filepath.Join(guestDir, "guest-plain.yaml") }

// processes lists those that were started with this rig's home.
func (r *rig) processes() []process.Identity {
	r.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		r.Fatal(err)
	}
	var found []process.Identity
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil || !bytes.Contains(environ, []byte("HOME="+r.home+"\x00")) {
			continue
		}
		if id, err := process.Find(pid); err == nil {
			found = append(found, id)
		}
	}
	return found
}

// endLeftovers is the proof that rdd leaves nothing running; what there is nevertheless must not disturb other tests.
func (r *rig) endLeftovers() {
	r.Helper()
	// ssh's control master goes a moment after its socket has.
	deadline := time.Now().Add(10 * time.Second)
	for len(r.processes()) > 0 && time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
	}
	for _, id := range r.processes() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id.PID))
		r.Errorf("still running: %d %s", id.PID, bytes.ReplaceAll(command, []byte{0}, []byte{' '}))
		if handle, err := process.Open(id); err == nil {
			_ = handle.Kill()
			handle.Close()
		}
	}
}

func (r *rig) showLogs() {
	patterns := []string{".local/state/*/*.log", ".rdd*/*/ha.stderr.log", ".rdd*/_rdd/*/*.log"}
	for _, pattern := range patterns {
		paths, _ := filepath.Glob(filepath.Join(r.home, pattern))
		for _, path := range paths {
			r.Logf("the end of %s:\n%s", path, tail(path))
		}
	}
}

func tail(path string) []byte {
	const size = 6000
	file, err := os.Open(path)
	if err != nil {
		return []byte(err.Error())
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > size {
		_, _ = file.Seek(-size, io.SeekEnd)
	}
	content, _ := io.ReadAll(file)
	return content
}
