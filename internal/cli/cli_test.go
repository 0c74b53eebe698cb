package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/template"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares output with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("output differs from %s (go test -update writes it anew):\n%s", path, got)
	}
}

// rdd runs the program in this process, with a home directory of its own and nothing that can be executed.
func rdd(t *testing.T, home string, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), Config{
		Args: append([]string{"rdd"}, args...), Environ: append([]string{"HOME=" + home, "USERPROFILE=" + home}, env...),
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Executable: filepath.Join(home, "no-such-program"), Version: "1.2.3",
	})
	return out.String(), errs.String(), code
}

func TestGoldenOutput(t *testing.T) {
	for name, args := range map[string][]string{
		"version":              {"version"},
		"version-flag":         {"--version"},
		"version-json":         {"version", "-o", "json"},
		"help":                 {"--help"},
		"help-limavm":          {"limavm", "--help"},
		"help-limavm-create":   {"vm", "create", "--help"},
		"help-svc":             {"svc", "--help"},
		"status":               {"svc", "status"},
		"status-json":          {"svc", "status", "-o", "json"},
		"status-yaml":          {"svc", "status", "-o", "yaml"},
		"help-svc-reset":       {"svc", "reset", "--help"},
		"reset-not-there":      {"svc", "reset"},
		"help-svc-config":      {"svc", "config", "--help"},
		"help-svc-install":     {"svc", "install", "--help"},
		"help-support-bundle":  {"support-bundle", "--help"},
		"help-controllers":     {"controllers", "--help"},
		"stop-not-running":     {"svc", "stop"},
		"down-all-not-running": {"down", "--all"},
	} {
		t.Run(name, func(t *testing.T) { goldenOutput(t, name, args) })
	}
}

func goldenOutput(t *testing.T, name string, args []string) {
	t.Helper()
	home := t.TempDir()
	stdout, stderr, code := rdd(t, home, nil, args...)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	golden(t, name, strings.ReplaceAll("stdout:\n"+stdout+"stderr:\n"+stderr, home, "HOME"))
}

func TestGoldenErrors(t *testing.T) {
	goldenErrors(t, "errors", [][]string{
		{"fly"}, {"limavm"}, {"limavm", "fly"}, {"limavm", "start"}, {"limavm", "start", ""}, {"limavm", "create"},
		{"limavm", "list", "-o", "xml"}, {"limavm", "list", "extra"}, {"limavm", "list", "--fly"}, {"limavm", "start", "a", "--timeout=soon"},
		{"limavm", "logs", "a", "b"}, {"limavm", "create", "a", "template:debain"},
		{"--instance=A", "svc", "status"}, {"--instance"}, {"--log-level=loud", "version"}, {"svc", "start", "--secure-port=-1"},
		{"svc", "create", "--secure-port=70000"}, {"svc", "create", "--controllers=-other"}, {"controllers"}, {"controllers", "--group=other"},
		{"svc", "create", "--datastore-endpoint=https://me:secret@etcd.example:2379"},
		{"svc", "create", "--datastore-endpoint=https://me:1/secret@etcd.example:2379"},
		{"svc", "paths", "nothing"}, {"svc", "logs"}, {"down", "--all", "a"}, {"up", "a", "b"},
		{"limavm", "stop", "a", "--force", "--grace-period=1"}, {"limavm", "stop", "a", "--grace-period=-5"},
		{"limavm", "start", "a", "--timeout=-5s"}, {"limavm", "create", "a", "--cpus=0"}, {"limavm", "create", "a", "--cpus=-1"},
		{"limavm", "create", "a", "--memory=4"}, {"limavm", "create", "a", "--memory=512"}, {"limavm", "create", "a", "--memory=0"},
		{"limavm", "cp", "dev:a", "dev:b"}, {"limavm", "cp", "src/a", "dev"}, {"limavm", "cp", ".", "dev:"}, {"limavm", "create", "x", ""},
		{"limavm", "create", "a", "--memory="}, {"limavm", "create", "a", "--disk=100"},
		{"help", "nope"}, {"help", "limavm", "nope"}, {"completion", "tcsh"}, {"completion"}, {"limavm", "list", "--instance=x"},
		{"svc", "start", "--log-level", "debug"}, {"limavm", "logs", "a", "--serial", "--stdout"},
	})
}

func goldenErrors(t *testing.T, name string, failing [][]string) {
	t.Helper()
	var report strings.Builder
	home := t.TempDir()
	for _, args := range failing {
		stdout, stderr, code := rdd(t, home, nil, args...)
		if stdout != "" {
			t.Errorf("rdd %q printed a result: %s", args, stdout)
		}
		fmt.Fprintf(&report, "rdd %s\n  %d %s", strings.Join(args, " "), code, strings.ReplaceAll(stderr, home, "HOME"))
	}
	golden(t, name, report.String())
}

func TestEveryCommandHasAnExample(t *testing.T) {
	a := &app{}
	for _, command := range a.root().Commands() {
		commands := command.Commands()
		if len(commands) == 0 {
			commands = append(commands, command)
		}
		for _, command := range commands {
			if command.Example == "" && !command.Hidden {
				t.Errorf("%s has no example", command.CommandPath())
			}
			if !strings.HasPrefix(command.Short, strings.ToUpper(command.Short[:1])) || strings.HasSuffix(command.Short, ".") {
				if !strings.HasPrefix(command.Short, "kubectl") {
					t.Errorf("%s: %q", command.CommandPath(), command.Short)
				}
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	resource := schema.GroupResource{Resource: "limavms"}
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("any"), 1},
		{usage(errors.New("any")), 2},
		{fmt.Errorf("wrapped: %w", usagef("any")), 2},
		{&refusedError{errors.New("any")}, 3},
		{apierrors.NewInvalid(schema.GroupKind{Kind: "LimaVM"}, "x", nil), 3},
		{apierrors.NewForbidden(resource, "x", errors.New("no")), 3},
		{fmt.Errorf("wrapped: %w", apierrors.NewAlreadyExists(resource, "x")), 3},
		{apierrors.NewConflict(resource, "x", errors.New("no")), 3},
		{fmt.Errorf("wrapped: %w", &template.SyntaxError{Message: "no"}), 3},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), 4},
		{apierrors.NewTimeoutError("slow", 1), 4},
		{notFoundf("any"), 5},
		{apierrors.NewNotFound(resource, "x"), 5},
		{&sourceError{&template.UnknownBuiltinError{Name: "x"}}, 5},
		{&sourceError{fmt.Errorf("wrapped: %w", fs.ErrNotExist)}, 5},
		{fmt.Errorf("a file of ours: %w", fs.ErrNotExist), 1},
		{errors.Join(daemon.ErrRunning, nil), 6},
		{&statusError{code: 42}, 42},
		{errors.Join(nil, notFoundf("one"), errors.New("two")), 5},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exit code of %T %v = %d, want %d", c.err, c.err, got, c.want)
		}
	}
}

func TestAnErrorIsOneLine(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.Join(errors.New("one"), errors.New("two")), "one; two"},
		{fmt.Errorf("one\n  %w", errors.New("two")), "one; two"},
		{&statusError{code: 1}, ""},
	} {
		if got := describe(c.err); got != c.want {
			t.Errorf("describe(%q) = %q, want %q", c.err, got, c.want)
		}
	}
}

func TestAConnectionThatBrokeIsToldPlainly(t *testing.T) {
	a := &app{env: environment{directories: instance.Env{Home: t.TempDir()}}}
	const ours, theirs = "https://127.0.0.1:6445/api", "https://example.com/vm.yaml"
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for _, c := range []struct {
		err   error
		plain bool
	}{
		{&url.Error{Op: "Get", URL: ours, Err: io.EOF}, true},
		{fmt.Errorf("cannot list the VMs: %w", &url.Error{Op: "Get", URL: ours, Err: reset}), true},
		{&url.Error{Op: "Get", URL: theirs, Err: reset}, false},
		{&sourceError{&url.Error{Op: "Get", URL: ours, Err: reset}}, false},
		{&url.Error{Op: "Get", URL: ours, Err: errors.New("x509: unknown authority")}, false},
		{&url.Error{Op: "Get", URL: ours, Err: context.DeadlineExceeded}, false},
		{reset, false},
	} {
		got := a.plainly(c.err)
		if plain := strings.HasPrefix(got.Error(), `the control plane of instance "2" does not answer (`); plain != c.plain || exitCode(got) != exitCode(c.err) {
			t.Errorf("%v became %v", c.err, got)
		}
	}
}

// lateContext has a deadline that has passed, and a timer that has not noticed yet.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now().Add(-time.Hour), true }

func TestAnErrorAheadOfItsContextIsATimeout(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	limited := flowcontrol.NewTokenBucketRateLimiter(5, 1).Wait(lateContext{ctx})
	if limited == nil || exitCode(limited) == exitTimeout {
		t.Fatalf("the rate limiter says %v, not in its own words that the deadline has passed", limited)
	}
	if err := ctxError(lateContext{ctx}, limited); exitCode(err) != exitTimeout || ctx.Err() == nil {
		t.Errorf("%v became %v, exit code %d, and the context says %v", limited, err, exitCode(err), ctx.Err())
	}
	if err := ctxError(t.Context(), limited); !errors.Is(err, limited) {
		t.Errorf("without a deadline, %v became %v", limited, err)
	}
}

func TestTakeGlobals(t *testing.T) {
	for _, c := range []struct {
		args           []string
		instance, rest string
	}{
		{[]string{"--instance=dev", "ctl", "get", "--instance=x"}, "dev", "ctl get --instance=x"},
		{[]string{"--instance", "dev", "--log-level", "debug", "version"}, "dev", "version"},
		{[]string{"version", "--instance=dev"}, "fromenv", "version --instance=dev"},
		{nil, "fromenv", ""},
	} {
		a := &app{env: environment{instance: "fromenv"}}
		rest, err := a.takeGlobals(c.args)
		if err != nil || a.instanceName != c.instance || strings.Join(rest, " ") != c.rest {
			t.Errorf("takeGlobals(%q): instance %q, rest %q, %v", c.args, a.instanceName, rest, err)
		}
	}
}

func TestIsConfigMap(t *testing.T) {
	for source, want := range map[string]bool{
		"dev": true, "dev-template": true, "-": false, "dev.yaml": false, "./dev": false, "/dev": false, `C:\dev`: false,
		"template:debian": false, "https://example.com/dev": false,
	} {
		if isConfigMap(source) != want {
			t.Errorf("isConfigMap(%q) = %t, want %t", source, !want, want)
		}
	}
}

// TestARelativeLogDirectory is where the user is, also for a control plane that others start elsewhere.
func TestARelativeLogDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	want, err := filepath.Abs("logs")
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{"logs": want, want: want, "": ""} {
		environ := []string{"A=1", "RDD_LOG_DIR=" + given}
		a := &app{Config: Config{Environ: settle(environ)}}
		a.env = parseEnvironment(a.Environ)
		lasting := strings.TrimPrefix(strings.Join(a.env.lasting, " "), "RDD_LOG_DIR=")
		if !slices.Contains(a.Environ, "RDD_LOG_DIR="+want) || len(a.Environ) != 2 || environ[1] != "RDD_LOG_DIR="+given || lasting != want {
			t.Errorf("%q: %q, %q", given, a.Environ, lasting)
		}
	}
	stdout, stderr, code := rdd(t, t.TempDir(), []string{"RDD_LOG_DIR=logs"}, "svc", "install", "--dry-run")
	if code != 0 || strings.Contains(stdout, "RDD_LOG_DIR=logs") || strings.Contains(stdout, ">logs<") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}

func TestWith(t *testing.T) {
	got := with([]string{"A=1", "LIMA_HOME=/old", "B=2", "LIMA_HOMER=3"}, "LIMA_HOME", "/new")
	if strings.Join(got, " ") != "A=1 B=2 LIMA_HOMER=3 LIMA_HOME=/new" {
		t.Errorf("with: %q", got)
	}
}
