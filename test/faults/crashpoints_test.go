package faults

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
)

// buildMortal builds the daemon that dies at each crash point, once.
var buildMortal = sync.OnceValues(func() (string, error) { return build("crashpoints") })

// mortal is a site whose daemon dies at every crash point, once, and is then started again.
type mortal struct {
	*site
	died string // the directory with a file for each point that was died at
}

// TestEveryCrashPoint takes a VM through its life while the daemon dies at each point of internal/crashpoint. Whatever was asked
// for is reached by the daemons that follow, once; nothing is lost, and nothing left.
//
// It fails when a point is not reached; when StepRestart does not save before the start (the guest boots twice); and when
// supervisor.load takes an instance for made whose record says "creating".
func TestEveryCrashPoint(t *testing.T) {
	t.Parallel()
	m := &mortal{site: newBuiltSite(t, buildMortal), died: t.TempDir()}
	m.cfg.Environ = append(m.cfg.Environ, "RDD_CRASHPOINTS="+m.died)
	// A key that cannot be used has to be replaced on the way.
	keys := filepath.Join(m.home, "_config", "user")
	m.must(os.MkdirAll(filepath.Dir(keys), 0o700))
	m.must(os.WriteFile(keys, []byte("garbage\n"), 0o600))

	// And so does a directory that somebody else has made.
	m.must(os.MkdirAll(m.dir("one").Path(), 0o700))
	m.must(os.WriteFile(filepath.Join(m.dir("one").Path(), "theirs"), nil, 0o600))

	meta := metav1.ObjectMeta{Namespace: corev1.NamespaceDefault, Name: "one"}
	text := template + "vmType: qemu\nimages:\n- location: https://example.com/image.img\n  arch: x86_64\n"
	m.ask(func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(m.api.Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{v1alpha1.TemplateKey: text}}))
	})
	m.ask(func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(m.api.Create(ctx, &v1alpha1.LimaVM{
			ObjectMeta: meta, Spec: v1alpha1.LimaVMSpec{TemplateRef: v1alpha1.TemplateReference{Name: "one"}},
		}))
	})
	m.reach("made", func(vm *v1alpha1.LimaVM) bool { return vm.Status.Phase == v1alpha1.PhaseStopped })
	if _, err := os.Stat(keys + ".pub"); err != nil {
		t.Errorf("the ssh keys were not repaired: %v", err)
	}
	if kept, err := filepath.Glob(filepath.Join(instancedir.Trash(m.home), "one-*", "theirs")); len(kept) != 1 {
		t.Errorf("what was in the way is kept as %q, %v", kept, err)
	}
	m.must(os.RemoveAll(instancedir.Trash(m.home))) // svc delete would not
	m.change(wantRunning(true))
	first := m.reach("running", isRunning)
	m.expectBoots(1)

	// The daemon dies in the middle of adopting, too, and nothing is booted again.
	m.killDaemon()
	if got := m.reach("adopted", isRunning); got.Status.Host.Identity != first.Status.Host.Identity {
		t.Error("an adoption that was interrupted started the VM anew")
	}
	m.expectBoots(1)

	m.request(v1alpha1.AnnotationRestart, first)
	m.reach("restarted", func(vm *v1alpha1.LimaVM) bool {
		return isRunning(vm) && vm.Status.Host.Identity != first.Status.Host.Identity
	})
	m.expectBoots(2)

	owned := &corev1.ConfigMap{}
	m.ask(func(ctx context.Context) error {
		if err := m.api.Get(ctx, client.ObjectKey{Namespace: meta.Namespace, Name: "one" + v1alpha1.TemplateSuffix}, owned); err != nil {
			return err
		}
		owned.Data[v1alpha1.TemplateKey] = strings.Replace(text, "cpus: 2", "cpus: 1", 1)
		return m.api.Update(ctx, owned)
	})
	m.reach("another template", func(vm *v1alpha1.LimaVM) bool {
		return isRunning(vm) && vm.Status.ObservedTemplateResourceVersion == owned.ResourceVersion && vm.Status.Instance.CPUs == 1
	})
	m.expectBoots(3)

	// The agent dies by itself.
	before := m.reach("running", isRunning)
	members := m.family("one")
	m.kill(members...)
	m.reach("recovered", func(vm *v1alpha1.LimaVM) bool {
		return isRunning(vm) && vm.Status.Host.Identity != before.Status.Host.Identity
	})

	before = m.reach("running", isRunning)
	m.request(v1alpha1.AnnotationReset, before)
	m.reach("made anew", func(vm *v1alpha1.LimaVM) bool {
		return isRunning(vm) && vm.Status.Host.Identity != before.Status.Host.Identity
	})
	m.expectBoots(1)

	members = m.family("one")
	m.ask(func(ctx context.Context) error {
		return client.IgnoreNotFound(m.api.Delete(ctx, &v1alpha1.LimaVM{ObjectMeta: meta}))
	})
	m.reach("deleted", func(vm *v1alpha1.LimaVM) bool { return vm == nil })
	m.expectGone(members)
	for _, left := range []string{m.dir("one").Path(), m.dir("one").RecordDir()} {
		if _, err := os.Lstat(left); !os.IsNotExist(err) {
			t.Errorf("left behind: %s, %v", left, err)
		}
	}
	m.removeInstance()
	m.expectNobody()
	for _, point := range crashpoint.All() {
		if _, err := os.Stat(filepath.Join(m.died, string(point))); err != nil {
			t.Errorf("the daemon never came to where %s", point)
		}
	}
}

func isRunning(vm *v1alpha1.LimaVM) bool {
	return vm != nil && vm.Status.Phase == v1alpha1.PhaseRunning && vm.Status.ObservedGeneration == vm.Generation &&
		len(vm.Annotations) == 0 && !vm.Status.RestartNeeded
}

// up has a daemon that lives, for the moment.
func (m *mortal) up(ctx context.Context) {
	m.Helper()
	for ctx.Err() == nil {
		if record, err := daemon.Find(m.cfg.Instance); err == nil && record.Serves() && m.api != nil {
			return
		}
		if m.tryLaunch() == nil {
			return
		}
	}
	m.Fatal("no daemon came up")
}

// ask repeats a request until a daemon has answered it. do must be one that may be repeated.
func (m *mortal) ask(do func(ctx context.Context) error) {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		m.up(ctx)
		err := do(ctx)
		if err == nil {
			return
		}
		// Without a reason, it is the connection that failed.
		if ctx.Err() != nil || apierrors.ReasonForError(err) != metav1.StatusReasonUnknown && !apierrors.IsConflict(err) {
			m.Fatal(err)
		}
	}
}

// change is patch by whatever daemon lives.
func (m *mortal) change(change func(vm *v1alpha1.LimaVM)) {
	m.Helper()
	m.ask(func(ctx context.Context) error {
		vm, err := m.read(ctx)
		if err != nil {
			return err
		}
		before := vm.DeepCopy()
		change(vm)
		return m.api.Patch(ctx, vm, client.MergeFrom(before))
	})
}

// request asks for something once that ends the run before: where the answer died with the daemon, the request may have been taken up.
func (m *mortal) request(annotation string, before *v1alpha1.LimaVM) {
	m.Helper()
	m.change(func(vm *v1alpha1.LimaVM) {
		host := vm.Status.Host // which stays while a new daemon does not know yet whether the VM runs
		if len(vm.Annotations) > 0 || vm.Status.RestartNeeded || host == nil || host.Identity != before.Status.Host.Identity {
			return
		}
		ask(annotation)(vm)
	})
}

func (m *mortal) read(ctx context.Context) (*v1alpha1.LimaVM, error) {
	vm := &v1alpha1.LimaVM{}
	err := m.api.Get(ctx, client.ObjectKey{Namespace: corev1.NamespaceDefault, Name: "one"}, vm)
	return vm, err
}

// reach waits until the VM is as it should be, which is nil when there is none, with a new daemon whenever one has died.
func (m *mortal) reach(what string, ok func(vm *v1alpha1.LimaVM) bool) *v1alpha1.LimaVM {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		m.up(ctx)
		vm, err := m.read(ctx)
		if apierrors.IsNotFound(err) {
			vm, err = nil, nil
		}
		if err == nil && ok(vm) {
			return vm
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			m.Fatalf("it never was %s, but %+v, %v", what, vm, err)
		}
	}
}

func (m *mortal) expectBoots(want int) {
	m.Helper()
	boots := m.boots("one")
	if len(boots) != want {
		m.Errorf("%d boots, want %d", len(boots), want)
	}
	for i, shutDown := range boots {
		if shutDown != (i < len(boots)-1) {
			m.Errorf("boot %d of %d was shut down: %t", i+1, len(boots), shutDown)
		}
	}
}

// removeInstance is "svc delete", again until it has not died.
func (m *mortal) removeInstance() {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		command := exec.CommandContext(ctx, m.program, "--instance="+m.cfg.Instance.Name, "svc", "delete")
		command.Env = m.cfg.Environ
		output, err := command.CombinedOutput()
		if err == nil {
			break
		}
		if ctx.Err() != nil || len(output) > 0 && !strings.Contains(string(output), "already") {
			m.Fatalf("svc delete: %v\n%s", err, output)
		}
	}
	if _, err := os.Stat(m.cfg.Instance.Dir); !os.IsNotExist(err) {
		m.Errorf("%s is left: %v", m.cfg.Instance.Dir, err)
	}
}
