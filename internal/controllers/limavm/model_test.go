package limavm_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// modelChecks is how many random lives a run goes through, unless -rapid.checks says otherwise; -rapid.seed repeats one run.
const modelChecks = "8"

// model is what must be true of one VM, by what was asked for. There is little to it: that is the point.
type model struct {
	rt       *rapid.T
	d        *daemon
	name     string
	exists   bool
	running  bool
	made     content // what the instance is to be made from
	settled  content // and was, when it was last looked at
	applied  string  // status.appliedTemplate at that time
	starts   int     // how often the VM has been started, when it was last looked at
	expected int     // how many starts the one thing that happened takes; -1 when it cannot be told
	history  []string
}

// content is what a template and its params say.
type content struct{ image, size string }

// TestModel does what users do and has what dies die, at random and several at once, and then looks whether the VM is as the
// model says: the desired state is reached, with the present template and params, every request is forgotten, nothing is
// started more often than it takes, and what is deleted leaves nothing.
//
// It fails when StepRestart does not save before the start, and when decideStopped does not look at outdated.
func TestModel(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := flag.Set("rapid.checks", modelChecks); err != nil {
			t.Fatal(err)
		}
	}
	if err := flag.Set("rapid.nofailfile", "true"); err != nil { // the seed does
		t.Fatal(err)
	}
	d := newDaemon(t)
	d.template("source", goodTemplate)
	lives := 0
	rapid.Check(t, func(rt *rapid.T) {
		lives++
		m := &model{rt: rt, d: d, name: fmt.Sprintf("life%d", lives)}
		for range rapid.IntRange(3, 8).Draw(rt, "bursts") {
			m.burst()
			m.settle()
		}
		if m.exists {
			m.try(m.action("delete"))
			m.settle()
		}
	})
}

// burst has one thing happen, or several without a pause.
func (m *model) burst() {
	n := rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(m.rt, "at once")
	m.expected = 0
	for range n {
		names := []string{"the daemon dies"}
		switch {
		case !m.exists && m.gone():
			names = append(names, "create", "create running")
		case m.exists && m.owns():
			if n == 1 { // nothing else would tell that it was noticed
				names = append(names, "the agent dies")
			}
			names = append(names, "start", "stop", "restart", "reset", "edit", "params", "force", "delete")
		}
		m.try(m.action(rapid.SampledFrom(names).Draw(m.rt, "action")))
	}
	if n > 1 {
		m.expected = -1
	}
}

type action struct {
	name string
	do   func(ctx context.Context) error
}

// action changes the model, and returns what is to be done.
func (m *model) action(name string) action {
	change := func(change func(obj *v1alpha1.LimaVM)) func(context.Context) error {
		return func(ctx context.Context) error {
			obj := newVM(m.name)
			if err := m.d.client.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
				return err
			}
			before := obj.DeepCopy()
			change(obj)
			return m.d.client.Patch(ctx, obj, client.MergeFrom(before))
		}
	}
	annotate := func(key string) func(context.Context) error {
		return change(func(obj *v1alpha1.LimaVM) { metav1.SetMetaDataAnnotation(&obj.ObjectMeta, key, "now") })
	}
	again := func() { // takes one start, of a VM that is to run
		if m.running {
			m.expected = 1
		}
	}
	result := action{name: name}
	switch name {
	case "create", "create running":
		m.exists, m.running, m.made, m.settled, m.applied = true, name != "create", content{image: "one"}, content{}, ""
		m.starts = m.d.machine.Count(vm.OpStart, m.name) // in former lives
		again()
		obj := newVM(m.name)
		obj.Spec.Running = m.running
		result.do = func(ctx context.Context) error { return m.d.client.Create(ctx, obj) }
	case "delete":
		m.exists = false
		result.do = func(ctx context.Context) error { return m.d.client.Delete(ctx, newVM(m.name)) }
	case "start", "stop":
		was := m.running
		m.running = name == "start"
		if m.running && !was {
			m.expected = 1
		}
		running := m.running
		result.do = change(func(obj *v1alpha1.LimaVM) { obj.Spec.Running = running })
	case "restart":
		again()
		result.do = annotate(v1alpha1.AnnotationRestart)
	case "reset":
		again()
		result.do = annotate(v1alpha1.AnnotationReset)
	case "force":
		result.do = annotate(v1alpha1.AnnotationForceStop)
	case "params":
		size := rapid.SampledFrom([]string{"small", "large", "huge"}).Draw(m.rt, "size")
		if size != m.made.size {
			again()
		}
		m.made.size = size
		result.do = change(func(obj *v1alpha1.LimaVM) { obj.Spec.Params = map[string]string{"size": size} })
	case "edit":
		image := rapid.SampledFrom([]string{"one", "two"}).Draw(m.rt, "image")
		if image != m.made.image {
			again()
		}
		m.made.image = image
		result.do = m.edit(image)
	case "the agent dies":
		again()
		result.do = func(context.Context) error { m.d.machine.Crash(m.name); return nil }
	case "the daemon dies":
		result.do = func(context.Context) error { m.d.stop(); m.d.start(false); return nil }
	}
	return result
}

func (m *model) edit(image string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		owned := &corev1.ConfigMap{}
		key := client.ObjectKey{Namespace: "default", Name: m.name + v1alpha1.TemplateSuffix}
		if err := m.d.client.Get(ctx, key, owned); err != nil {
			return err
		}
		before := owned.DeepCopy()
		owned.Data[v1alpha1.TemplateKey] = strings.Replace(goodTemplate, "one", image, 1)
		return m.d.client.Patch(ctx, owned, client.MergeFrom(before))
	}
}

func (m *model) try(a action) {
	m.history = append(m.history, a.name)
	if err := a.do(context.Background()); err != nil {
		m.rt.Fatalf("%s after %q: %v", a.name, m.history, err)
	}
}

// gone tells whether the name is free.
func (m *model) gone() bool {
	_, err := m.read()
	return apierrors.IsNotFound(err)
}

// owns tells whether there is a template to edit.
func (m *model) owns() bool {
	obj, err := m.read()
	return err == nil && obj.Status.TemplateConfigMap != ""
}

func (m *model) read() (*v1alpha1.LimaVM, error) {
	obj := newVM(m.name)
	err := m.d.client.Get(context.Background(), client.ObjectKeyFromObject(obj), obj)
	return obj, err
}

// settle waits until all is as the model says, and then counts.
func (m *model) settle() {
	deadline := time.Now().Add(patience)
	var why string
	for why = m.differs(); why != ""; why = m.differs() {
		if time.Now().After(deadline) {
			m.rt.Fatalf("after %q: %s", m.history, why)
		}
		time.Sleep(2 * time.Millisecond)
	}
	if !m.exists {
		if _, there := m.d.machine.Exists(m.name); there {
			m.rt.Fatalf("after %q: the instance is left", m.history)
		}
		return
	}
	obj, err := m.read()
	if err != nil {
		m.rt.Fatal(err)
	}
	m.starts, m.settled, m.applied = m.d.machine.Count(vm.OpStart, m.name), m.made, obj.Status.AppliedTemplate
}

// differs tells how the VM is not yet as it must be.
func (m *model) differs() string {
	obj, err := m.read()
	switch {
	case apierrors.IsNotFound(err) && !m.exists:
		return ""
	case err != nil:
		return err.Error()
	case !m.exists:
		return "it is still there:\n" + show(obj)
	}
	phase := v1alpha1.PhaseStopped
	if m.running {
		phase = v1alpha1.PhaseRunning
	}
	owned := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: "default", Name: m.name + v1alpha1.TemplateSuffix}
	if err := m.d.client.Get(context.Background(), key, owned); err != nil {
		return err.Error()
	}
	if obj.Status.Phase != phase || len(obj.Annotations) > 0 || obj.Status.RestartNeeded || obj.Status.ObservedGeneration != obj.Generation ||
		obj.Status.ObservedTemplateResourceVersion != owned.ResourceVersion {
		return fmt.Sprintf("it is not settled as %s with template %s:\n%s", phase, owned.ResourceVersion, show(obj))
	}
	if (obj.Status.AppliedTemplate == m.applied) != (m.made == m.settled) {
		return fmt.Sprintf("it was made from %v, is to be made from %v, and has template %s after %s", m.settled, m.made,
			obj.Status.AppliedTemplate, m.applied)
	}
	starts := m.d.machine.Count(vm.OpStart, m.name)
	if got := starts - m.starts; m.expected >= 0 && got != m.expected {
		return fmt.Sprintf("it was started %d times, want %d", got, m.expected)
	}
	return ""
}
