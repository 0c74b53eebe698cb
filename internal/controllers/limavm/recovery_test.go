package limavm_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/vmfake"
)

func message(obj *v1alpha1.LimaVM, kind string) string {
	if c := meta.FindStatusCondition(obj.Status.Conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

func TestCreateFails(t *testing.T) {
	d := newDaemon(t, frozen)
	d.failing(vm.OpCreate, "no space left on device")
	d.create("dev")
	obj := d.awaitCondition("dev", v1alpha1.ConditionCreated, metav1.ConditionFalse, v1alpha1.ReasonCreateFailed)
	text := message(obj, v1alpha1.ConditionCreated)
	for _, part := range []string{"no space left on device", "exit status 1", "next attempt at", "the last line of the log"} {
		if !strings.Contains(text, part) {
			t.Errorf("the message lacks %q: %s", part, text)
		}
	}
	if obj.Status.Phase != v1alpha1.PhaseFailed {
		t.Errorf("phase is %s", obj.Status.Phase)
	}
	if event := d.awaitEvent("dev", v1alpha1.EventBackOff); event.Type != corev1.EventTypeWarning || !strings.Contains(event.Message, "no space left") {
		t.Errorf("event %s: %s", event.Type, event.Message)
	}
	if n := d.machine.Count(vm.OpCreate, "dev"); n != 1 {
		t.Errorf("tried %d times during the pause", n)
	}
	d.machine.Behave(nil)
	// A better template is tried at once.
	d.edit("dev", func(owned *corev1.ConfigMap) { owned.Data[v1alpha1.TemplateKey] = "images: [two]\n" })
	d.awaitStopped("dev")
}

func TestStartFails(t *testing.T) {
	d := newDaemon(t, frozen)
	d.failing(vm.OpStart, "no KVM")
	d.create("dev", running)
	obj := d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStartFailed)
	if text := message(obj, v1alpha1.ConditionRunning); !strings.Contains(text, "no KVM") || !strings.Contains(text, "rdd limavm logs dev") {
		t.Errorf("the message is %q", text)
	}
	if obj.Status.RestartCount != 0 || obj.Status.Phase != v1alpha1.PhaseFailed {
		t.Errorf("status:\n%s", show(obj))
	}
	d.awaitEvent("dev", v1alpha1.EventBackOff)
	if n := d.machine.Count(vm.OpStart, "dev"); n != 1 {
		t.Errorf("tried %d times during the pause", n)
	}
	d.machine.Behave(nil)
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false })
	d.awaitStopped("dev")
	d.change("dev", running) // whoever asks again does not wait for the pause to end
	d.awaitRunning("dev")
}

func TestPauseEnds(t *testing.T) {
	d := newDaemon(t)
	failures := 0
	d.machine.Behave(func(_ context.Context, call vmfake.Call) error {
		if call.Operation == vm.OpStart {
			if failures++; failures == 1 {
				return context.DeadlineExceeded
			}
		}
		return nil
	})
	begin := time.Now()
	d.create("dev", running)
	d.awaitRunning("dev") // nothing happens but that the pause of a second ends
	if took := time.Since(begin); took < time.Second {
		t.Errorf("the second attempt came after %v", took)
	}
	if n := d.machine.Count(vm.OpStart, "dev"); n != 2 {
		t.Errorf("started %d times", n)
	}
}

func TestCrash(t *testing.T) {
	d := newDaemon(t, frozen)
	d.create("dev", running)
	before := d.awaitRunning("dev")
	d.machine.Crash("dev")
	obj := d.await("dev", "another agent", func(obj *v1alpha1.LimaVM) bool { return obj.Status.RestartCount == 2 })
	if obj.Status.Host.Identity == before.Status.Host.Identity {
		t.Error("the agent is the same")
	}
	event := d.awaitEvent("dev", v1alpha1.EventCrashed)
	if event.Type != corev1.EventTypeWarning || !strings.Contains(event.Message, "signal: killed") ||
		!strings.Contains(event.Message, "the last line of the log") {
		t.Errorf("event %s: %s", event.Type, event.Message)
	}

	d.awaitRunning("dev")
	d.machine.Crash("dev") // the second time in a row it has to wait
	obj = d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonBackOff)
	if text := message(obj, v1alpha1.ConditionRunning); !strings.Contains(text, "2 times in a row") || !strings.Contains(text, "next attempt at") {
		t.Errorf("the message is %q", text)
	}
	d.awaitEvent("dev", v1alpha1.EventBackOff)
	if obj.Status.Host != nil || obj.Status.RestartCount != 2 || obj.Status.Phase != v1alpha1.PhaseFailed {
		t.Errorf("status:\n%s", show(obj))
	}
	d.annotate("dev", v1alpha1.AnnotationRestart) // asked for by hand, it does not wait
	d.awaitRunning("dev")
}

func TestRestartPolicyNever(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running, func(obj *v1alpha1.LimaVM) { obj.Spec.RestartPolicy = v1alpha1.RestartNever })
	d.awaitRunning("dev")
	d.machine.Crash("dev")
	obj := d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonCrashed)
	if text := message(obj, v1alpha1.ConditionRunning); !strings.Contains(text, "stays down") || strings.Contains(text, "next attempt") {
		t.Errorf("the message is %q", text)
	}
	d.awaitEvent("dev", v1alpha1.EventCrashed)
	if n := d.machine.Count(vm.OpStart, "dev"); n != 1 {
		t.Errorf("started %d times", n)
	}
	d.annotate("dev", v1alpha1.AnnotationRestart)
	d.awaitRunning("dev")

	// "Until its spec changes" also holds for a change that nobody can act upon yet.
	d.machine.Crash("dev")
	d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonCrashed)
	d.stop()
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.StopGracePeriodSeconds = ptr.To[int32](60) })
	d.start(true)
	d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionUnknown, v1alpha1.ReasonReconciling)
	d.driver.Verify()
	d.awaitRunning("dev")
	if got := d.driver.Observe("dev").Grace; got != time.Minute {
		t.Errorf("the driver knows of a grace of %s", got)
	}
}

func TestDegraded(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.awaitCondition("dev", v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonHealthy)
	d.must(d.machine.Degrade("dev", "port 8080 is taken"))
	d.annotate("dev", "example.com/look-again")
	obj := d.awaitCondition("dev", v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonHostAgentError)
	if text := message(obj, v1alpha1.ConditionDegraded); text != "port 8080 is taken" {
		t.Errorf("the message is %q", text)
	}
	d.awaitEvent("dev", v1alpha1.EventDegraded)
	d.awaitRunning("dev")
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false })
	d.awaitCondition("dev", v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonNotRunning)
}

func TestAdoption(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.create("other", running)
	before := d.awaitRunning("dev")
	d.awaitRunning("other")
	d.stop()
	d.change("other", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false })

	d.start(true)
	obj := d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionUnknown, v1alpha1.ReasonReconciling)
	if obj.Status.Host == nil || obj.Status.Instance == nil ||
		!meta.IsStatusConditionTrue(obj.Status.Conditions, v1alpha1.ConditionCreated) {
		t.Errorf("what was known is forgotten:\n%s", show(obj))
	}
	d.driver.Verify()
	obj = d.awaitRunning("dev")
	if obj.Status.RestartCount != 1 || !obj.Status.Host.Adopted || obj.Status.Host.Identity != before.Status.Host.Identity ||
		!obj.Status.Host.StartTime.Equal(before.Status.Host.StartTime) {
		t.Errorf("adopted:\n%s\nbefore:\n%s", show(obj), show(before))
	}
	d.awaitEvent("dev", v1alpha1.EventAdopted)
	if n := d.machine.Count(vm.OpStart, "dev"); n != 1 {
		t.Errorf("started %d times", n)
	}
	d.awaitStopped("other")
}

func TestAdoptionOfWhatCrashedMeanwhile(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.stop()
	d.machine.Crash("dev")
	d.start(false)
	d.await("dev", "started again", func(obj *v1alpha1.LimaVM) bool { return obj.Status.RestartCount == 2 })
}

func TestDrain(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d.must(d.driver.Drain(ctx, func(string) time.Duration { return patience }))
	obj := d.awaitStopped("dev")
	if !obj.Spec.Running {
		t.Error("draining has changed what is wanted")
	}
	d.create("late", running)
	d.awaitCondition("late", v1alpha1.ConditionCreated, metav1.ConditionUnknown, v1alpha1.ReasonPending)
	if n := d.machine.Count(vm.OpStart, "dev") + d.machine.Count(vm.OpCreate, "late"); n != 1 {
		t.Errorf("%d operations, want the first start only", n)
	}
	d.stop()
	d.start(false) // the next daemon has it running again
	d.await("dev", "started again", func(obj *v1alpha1.LimaVM) bool { return obj.Status.RestartCount == 2 })
	d.awaitRunning("late")
}

// TestForeignDirectory has the driver make room for an instance.
func TestForeignDirectory(t *testing.T) {
	d := newDaemon(t)
	d.machine.PlantForeign("dev")
	d.create("dev", running)
	d.awaitRunning("dev")
	if event := d.awaitEvent("dev", v1alpha1.EventLeftoverMoved); event.Type != corev1.EventTypeWarning || !d.machine.MovedAside("dev") {
		t.Errorf("event %s: %s", event.Type, event.Message)
	}
}

// TestInhabitedDirectory has the driver find that it cannot make room. The object can be deleted all the same.
func TestInhabitedDirectory(t *testing.T) {
	d := newDaemon(t)
	d.machine.PlantForeign("dev")
	d.failing(vm.OpCreate, "somebody lives there")
	d.create("dev", running)
	obj := d.awaitCondition("dev", v1alpha1.ConditionCreated, metav1.ConditionFalse, v1alpha1.ReasonCreateFailed)
	if text := message(obj, v1alpha1.ConditionCreated); !strings.Contains(text, "somebody lives there") || obj.Status.Phase != v1alpha1.PhaseFailed {
		t.Errorf("phase %s, the message is %q", obj.Status.Phase, text)
	}
	d.delete("dev")
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
	if foreign, ok := d.machine.Exists("dev"); !ok || !foreign {
		t.Error("what is not ours was touched")
	}
}

// Two objects of one name in two namespaces that both got past admission: the instance has one owner.
func TestOneNameInTwoNamespaces(t *testing.T) {
	d := newDaemon(t, withoutAdmission)
	d.must(d.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}))
	d.create("dev", running)
	first := d.awaitRunning("dev")

	second := newVM("dev", running)
	second.Namespace = "elsewhere"
	d.must(d.client.Create(t.Context(), second))
	d.namespace = "elsewhere"
	obj := d.awaitCondition("dev", v1alpha1.ConditionCreated, metav1.ConditionFalse, v1alpha1.ReasonCreateFailed)
	if text := message(obj, v1alpha1.ConditionCreated); !strings.Contains(text, "already used by LimaVM default/dev") {
		t.Errorf("the message is %q", text)
	}
	if obj.Status.Host != nil || obj.Status.Instance != nil || obj.Status.RestartCount != 0 {
		t.Errorf("it reports what is not its own:\n%s", show(obj))
	}

	d.namespace = "default"
	if obj := d.awaitRunning("dev"); obj.Status.Host.Identity != first.Status.Host.Identity {
		t.Error("the first one was touched")
	}
	d.delete("dev")
	d.namespace = "elsewhere"
	if obj := d.awaitRunning("dev"); obj.Status.RestartCount != 1 { // its turn
		t.Errorf("the second one:\n%s", show(obj))
	}
}
