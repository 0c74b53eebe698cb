package limavm_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/vmfake"
)

func TestRestart(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	before := d.awaitRunning("dev")
	release := d.hang(vm.OpStop, "dev")
	d.annotate("dev", v1alpha1.AnnotationRestart)
	d.await("dev", "a restart that is noted", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.RestartNeeded && !metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationRestart)
	})
	release()
	obj := d.await("dev", "another agent", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.RestartCount == 2 && !obj.Status.RestartNeeded
	})
	if obj.Status.Host.Identity == before.Status.Host.Identity {
		t.Error("the agent is the same")
	}
	if n := d.machine.Count(vm.OpStop, "dev"); n != 1 {
		t.Errorf("stopped %d times", n)
	}
}

// A restart that was noted by a daemon which died is done by the next one, once.
func TestRestartSurvivesTheDaemon(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.stop()
	obj := d.get("dev")
	obj.Status.RestartNeeded = true
	d.must(d.client.Status().Update(t.Context(), obj))
	d.start(false)
	d.await("dev", "another agent", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.RestartCount == 2 && !obj.Status.RestartNeeded
	})
	d.stop()
	d.start(false)
	d.awaitEvent("dev", v1alpha1.EventAdopted)
	if n := d.machine.Count(vm.OpStop, "dev"); n != 1 {
		t.Errorf("stopped %d times", n)
	}
}

func TestRestartOfWhatIsNotWanted(t *testing.T) {
	d := newDaemon(t)
	d.create("dev")
	d.awaitStopped("dev")
	d.annotate("dev", v1alpha1.AnnotationRestart)
	d.await("dev", "the restart forgotten", func(obj *v1alpha1.LimaVM) bool {
		return !obj.Status.RestartNeeded && !metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationRestart)
	})
	d.awaitStopped("dev")
	if n := d.machine.Count(vm.OpStart, "dev"); n != 0 {
		t.Errorf("started %d times", n)
	}
}

func TestReset(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	template := d.owned("dev")
	release := d.hang(vm.OpDelete, "dev")
	d.annotate("dev", v1alpha1.AnnotationReset)
	obj := d.awaitCondition("dev", v1alpha1.ConditionCreated, metav1.ConditionFalse, v1alpha1.ReasonDeleting)
	if obj.Status.Phase != v1alpha1.PhaseCreating {
		t.Errorf("phase is %s", obj.Status.Phase)
	}
	release()
	d.await("dev", "running anew", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.RestartCount == 2 && !metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationReset)
	})
	if now := d.owned("dev"); now.UID != template.UID {
		t.Error("the template was replaced")
	}
	if created, deleted := d.machine.Count(vm.OpCreate, "dev"), d.machine.Count(vm.OpDelete, "dev"); created != 2 || deleted != 1 {
		t.Errorf("created %d times, deleted %d times", created, deleted)
	}
}

// deletesAtOnce has an instance be gone before the controller looks again.
type deletesAtOnce struct {
	vm.Driver
	machine *vmfake.Machine
}

func (d deletesAtOnce) Delete(name string) error {
	err := d.Driver.Delete(name)
	for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, there := d.machine.Exists(name); !there {
			break
		}
	}
	return err
}

// TestResetIsReportedBeforeItIsForgotten: the request goes when the instance has gone, and who sees that must not see the
// status from before. It fails without tellFirst.
func TestResetIsReportedBeforeItIsForgotten(t *testing.T) {
	d := newDaemon(t, through(func(d *daemon) vm.Driver { return deletesAtOnce{d.driver, d.machine} }))
	d.create("dev")
	d.awaitStopped("dev")
	release := d.hang(vm.OpCreate, "dev")
	ask := sync.OnceFunc(func() { d.annotate("dev", v1alpha1.AnnotationReset) })
	obj := d.await("dev", "the reset forgotten", func(obj *v1alpha1.LimaVM) bool {
		ask()
		return d.machine.Count(vm.OpDelete, "dev") == 1 && !metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationReset)
	})
	if obj.Status.Phase == v1alpha1.PhaseStopped {
		t.Errorf("there is no instance, and the status says:\n%s", show(obj))
	}
	release()
	d.awaitStopped("dev")
}

// stopsLate has an instance end between the look and the request to stop it that is repeated while it is stopping.
type stopsLate struct {
	vm.Driver
	end   func()
	again bool
}

func (d *stopsLate) Stop(name string, grace time.Duration) error {
	err := d.Driver.Stop(name, grace)
	if !d.again {
		d.again = true
		return err
	}
	d.end()
	for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		err = d.Driver.Stop(name, grace)
	}
	return err
}

// TestOvertakenRequest: a request that is refused because the state has changed meanwhile is no failure. It fails without
// overtaken.
func TestOvertakenRequest(t *testing.T) {
	late := &stopsLate{}
	d := newDaemon(t, through(func(d *daemon) vm.Driver { late.Driver = d.driver; return late }))
	d.create("dev", running)
	d.awaitRunning("dev")
	late.end = d.hang(vm.OpStop, "dev")
	stop := sync.OnceFunc(func() { d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false }) })
	d.await("dev", "Stopped", func(obj *v1alpha1.LimaVM) bool {
		stop()
		if c := meta.FindStatusCondition(obj.Status.Conditions, v1alpha1.ConditionRunning); c.Reason == v1alpha1.ReasonStopFailed {
			t.Errorf("reported as a failure: %s", c.Message)
		}
		return obj.Status.Phase == v1alpha1.PhaseStopped
	})
	if !late.again {
		t.Error("the request was not repeated")
	}
}

func TestTemplateChange(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	before := d.awaitRunning("dev")
	release := d.hang(vm.OpApply, "dev")
	owned := d.edit("dev", func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "images: [two]\n" })
	obj := d.await("dev", "stopped", func(obj *v1alpha1.LimaVM) bool { return obj.Status.Host == nil })
	if obj.Status.ObservedTemplateResourceVersion != before.Status.ObservedTemplateResourceVersion {
		t.Error("the template is reported as applied before it is")
	}
	release()
	obj = d.await("dev", "the template applied", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.ObservedTemplateResourceVersion == owned.ResourceVersion
	})
	if obj.Status.RestartCount != 2 || obj.Status.Phase != v1alpha1.PhaseRunning ||
		obj.Status.AppliedTemplate == before.Status.AppliedTemplate {
		t.Errorf("status:\n%s", show(obj))
	}
	d.awaitEvent("dev", v1alpha1.EventTemplateApplied)

	// The template that it was made from plays no part any more.
	d.must(d.client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "source"}}))

	// Nor does a label.
	owned = d.edit("dev", func(owned *corev1.ConfigMap) { owned.Labels["example.com/new"] = "yes" })
	obj = d.await("dev", "the label observed", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.ObservedTemplateResourceVersion == owned.ResourceVersion
	})
	if obj.Status.RestartCount != 2 || d.machine.Count(vm.OpApply, "dev") != 1 {
		t.Errorf("a label restarted it:\n%s", show(obj))
	}
}

func TestTemplateChangeWhileStopped(t *testing.T) {
	d := newDaemon(t)
	d.create("dev")
	d.awaitStopped("dev")
	owned := d.edit("dev", func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "images: [two]\n" })
	d.await("dev", "the template applied", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.ObservedTemplateResourceVersion == owned.ResourceVersion
	})
	if n := d.machine.Count(vm.OpStart, "dev"); n != 0 {
		t.Errorf("started %d times", n)
	}
}

func TestTemplateThatCannotBeApplied(t *testing.T) {
	d := newDaemon(t, frozen)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.failing(vm.OpApply, "disks cannot shrink")
	d.edit("dev", func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "images: [two]\n" })
	obj := d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStartFailed)
	if text := message(obj, v1alpha1.ConditionRunning); !strings.Contains(text, "disks cannot shrink") {
		t.Errorf("the message is %q", text)
	}
	d.machine.Behave(nil)
	d.edit("dev", func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "images: [three]\n" })
	d.awaitRunning("dev")
}

func TestParams(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running, func(obj *v1alpha1.LimaVM) { obj.Spec.Params = map[string]string{"size": "big"} })
	d.awaitRunning("dev")
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Params["size"] = "huge" })
	d.await("dev", "the params applied", func(obj *v1alpha1.LimaVM) bool { return obj.Status.RestartCount == 2 })
	var merged []string
	for _, call := range d.machine.Calls() {
		if len(call.Spec.Template) > 0 {
			merged = append(merged, string(call.Operation)+" "+string(call.Spec.Template))
		}
	}
	if len(merged) != 2 || !strings.Contains(merged[0], "Create images:\n- one\nparam:\n  size: big") ||
		!strings.Contains(merged[1], "Apply images:\n- one\nparam:\n  size: huge") {
		t.Errorf("the driver was given %q", merged)
	}
	if content := d.owned("dev").Data[v1alpha1.TemplateKey]; content != goodTemplate {
		t.Errorf("the user's template became %q", content)
	}
}

// What admission would have refused is reported.
func TestTemplateProblems(t *testing.T) {
	d := newDaemon(t, withoutAdmission)
	d.create("missing", func(obj *v1alpha1.LimaVM) { obj.Spec.TemplateRef.Name = "nowhere" })
	d.template("wrong", "wrong: 1\n")
	d.create("invalid", func(obj *v1alpha1.LimaVM) { obj.Spec.TemplateRef.Name = "wrong" })
	d.template("taken-template", "mine: yes\n")
	d.create("taken")
	for name, want := range map[string]string{
		"missing": "ConfigMap default/nowhere not found",
		"invalid": "failed to validate template: line 1",
		"taken":   "ConfigMap default/taken-template already exists",
	} {
		obj := d.awaitCondition(name, v1alpha1.ConditionCreated, metav1.ConditionFalse, v1alpha1.ReasonCreateFailed)
		if text := message(obj, v1alpha1.ConditionCreated); !strings.Contains(text, want) {
			t.Errorf("%s: the message is %q", name, text)
		}
		if obj.Status.Phase != v1alpha1.PhaseFailed {
			t.Errorf("%s: phase is %s", name, obj.Status.Phase)
		}
	}
	d.template("nowhere", goodTemplate) // as soon as it is there, it is used
	d.awaitStopped("missing")
	d.delete("taken")
	d.awaitGone(&v1alpha1.LimaVMList{}, "taken")
	key := client.ObjectKey{Namespace: "default", Name: "taken-template"}
	d.must(d.client.Get(t.Context(), key, &corev1.ConfigMap{})) // the user's own
}

// A template that went bad behind admission's back neither stops what runs nor starts what does not.
func TestTemplateThatBecameInvalid(t *testing.T) {
	d := newDaemon(t, withoutAdmission)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.edit("dev", func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "wrong: 1\n" })
	obj := d.awaitCondition("dev", v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonTemplateInvalid)
	if obj.Status.RestartCount != 1 || obj.Status.Phase != v1alpha1.PhaseRunning {
		t.Errorf("status:\n%s", show(obj))
	}
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false })
	d.awaitStopped("dev")
	d.change("dev", running)
	d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStartFailed)
	d.edit("dev", func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = goodTemplate })
	d.awaitRunning("dev")
}
