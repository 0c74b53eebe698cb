package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/sirupsen/logrus"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/config/crd"
	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/controlplane"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/template"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/vmfake"
)

// roleVariable makes the test binary act as rdd itself, for what needs a process: terminals, signals, shells.
const roleVariable = "RDD_TEST_ROLE"

func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	ctrllog.SetLogger(logr.Discard())
	if os.Getenv(roleVariable) != "" {
		os.Exit(beRDD())
	}
	logrus.SetOutput(io.Discard)
	os.Exit(m.Run())
}

func beRDD() int {
	config, err := OfProcess("1.2.3", nil)
	if err != nil {
		panic(err)
	}
	ctx, stop := interruptible()
	defer stop()
	return Main(ctx, config)
}

// patience bounds each wait. It only decides how long a broken command takes to fail.
const patience = 60 * time.Second

// plane is a control plane and controller with VMs in memory, which commands find as that of a running daemon.
type plane struct {
	*testing.T
	home    string
	machine *vmfake.Machine
	api     client.WithWatch
}

// newPlane serves the default instance of a home directory of its own, from this process.
func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{T: t, home: t.TempDir(), machine: vmfake.NewMachine()}
	inst, err := instance.New("", instance.Env{Home: p.home})
	p.must(err)
	p.must(daemon.MakeDirs(inst))
	crds, err := crd.All()
	p.must(err)
	templates := limavm.Templates{Validate: template.Validate, MergeParams: template.MergeParams}
	admission, err := limavm.NewAdmission(limavm.AdmissionConfig{Templates: templates, MaxNameLength: 40})
	p.must(err)
	quiet := slog.New(slog.DiscardHandler)
	metrics := limavm.NewMetrics()
	server, err := controlplane.Start(t.Context(), controlplane.Config{
		Store: inst.StoreFile(), TLSDir: inst.TLSDir(), Kubeconfig: inst.Kubeconfig(), CRDs: crds, Version: "v1.2.3", Log: quiet,
		Admission: []controlplane.Admission{admission}, Metrics: metrics,
	})
	p.must(err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	manager, err := limavm.NewManager(rest.CopyConfig(server.Loopback()), quiet)
	p.must(err)
	admission.SetReader(manager.GetAPIReader())
	changes := limavm.NewChanges()
	driver := vmfake.New(vmfake.Config{Machine: p.machine, Notify: changes.Notify})
	p.must(limavm.SetupWithManager(manager, limavm.Config{Driver: driver, Templates: templates, Changes: changes, Metrics: metrics, Log: quiet}))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = driver.Close()
	})
	pretend(t, inst, func(r *daemon.Record) { r.Address = server.Address() })
	p.api, err = connect(inst)
	p.must(err)
	return p
}

func (p *plane) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// sub is the same control plane in a subtest.
func (p *plane) sub(t *testing.T) *plane { return &plane{t, p.home, p.machine, p.api} }

// runIn runs a command in this process, with input, until it ends or ctx does.
func (p *plane) runIn(ctx context.Context, stdin string, stdout, stderr io.Writer, args ...string) (code int) {
	return Main(ctx, Config{
		Args: append([]string{"rdd"}, args...), Environ: []string{"HOME=" + p.home, "USERPROFILE=" + p.home},
		Stdin: strings.NewReader(stdin), Stdout: stdout, Stderr: stderr,
		Executable: filepath.Join(p.home, "no-such-program"), Version: "1.2.3",
	})
}

// program is rdd as a process: this test binary, which acts as it.
func (p *plane) program(env []string, args ...string) *exec.Cmd {
	p.Helper()
	self, err := os.Executable()
	p.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append([]string{roleVariable + "=rdd", "HOME=" + p.home, "PATH=" + os.Getenv("PATH"), "TERM=xterm"}, env...)
	return cmd
}

// want runs a command that must end with a code and print what matches.
func (p *plane) want(code int, pattern string, args ...string) string {
	p.Helper()
	return p.wantIn("", code, pattern, args...)
}

func (p *plane) wantIn(stdin string, code int, pattern string, args ...string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	var got int
	if args[0] == "ctl" && args[1] != "wait-condition" { // kubectl changes what is global in a process, and the API server reads it
		cmd := p.program(nil, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
		_ = cmd.Run()
		got = cmd.ProcessState.ExitCode()
	} else {
		got = p.runIn(ctx, stdin, &stdout, &stderr, args...)
	}
	said := stdout.String()
	if code != 0 {
		said = stderr.String()
		if strings.Count(said, "Error: ") != 1 {
			p.Errorf("rdd %s: one line of error was expected:\n%s", strings.Join(args, " "), said)
		}
	}
	if got != code || !regexp.MustCompile(pattern).MatchString(said) {
		p.Errorf("rdd %s: exit code %d, want %d and %q:\n%s%s", strings.Join(args, " "), got, code, pattern, stdout.String(), stderr.String())
	}
	return said
}

// file writes a file into the home directory, and returns its path.
func (p *plane) file(name, content string) string {
	p.Helper()
	path := filepath.Join(p.home, name)
	p.must(os.WriteFile(path, []byte(content), 0o600))
	return path
}

// vm reads a VM's object.
func (p *plane) vm(name string) *v1alpha1.LimaVM {
	p.Helper()
	vm, err := findVM(p.Context(), p.api, name)
	p.must(err)
	return vm
}

// until waits for a state of a VM.
func (p *plane) until(name string, reached func(*v1alpha1.LimaVM) bool) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	_, err := follow(ctx, p.api, p.vm(name), func(vm *v1alpha1.LimaVM) (bool, error) {
		return vm != nil && reached(vm), nil
	})
	p.must(err)
}

// hang has operations of one kind hang until release is called, or they are called off.
func (p *plane) hang(operation vm.Operation) (release func()) {
	gate := make(chan struct{})
	p.machine.Behave(func(ctx context.Context, call vmfake.Call) error {
		if call.Operation != operation {
			return nil
		}
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return sync.OnceFunc(func() { close(gate); p.machine.Behave(nil) })
}

// failing has operations of one kind fail, until mended is called.
func (p *plane) failing(operation vm.Operation, cause string) (mended func()) {
	p.machine.Behave(func(_ context.Context, call vmfake.Call) error {
		if call.Operation == operation {
			return errors.New(cause)
		}
		return nil
	})
	return func() { p.machine.Behave(nil) }
}

// output is what a command prints while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func newOutput() *output { return &output{news: make(chan struct{}, 1)} }

func (l *output) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *output) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until what was printed matches.
func (l *output) await(t *testing.T, pattern string) {
	t.Helper()
	deadline := time.After(patience)
	for expression := regexp.MustCompile(pattern); !expression.MatchString(l.String()); {
		select {
		case <-l.news:
		case <-deadline:
			t.Fatalf("%q was never printed:\n%s", pattern, l.String())
		}
	}
}
