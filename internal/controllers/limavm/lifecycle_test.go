package limavm_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

func TestCreate(t *testing.T) {
	d := newDaemon(t)
	d.create("dev")
	d.awaitStopped("dev")
	obj := d.awaitCondition("dev", v1alpha1.ConditionCreated, metav1.ConditionTrue, v1alpha1.ReasonCreated)

	owned := d.owned("dev")
	if owned.Data[v1alpha1.TemplateKey] != goodTemplate {
		t.Errorf("the template is %q", owned.Data)
	}
	if owned.Labels[v1alpha1.LabelTemplateConfigMap] != "true" || !slices.Contains(owned.Finalizers, v1alpha1.FinalizerTemplate) {
		t.Errorf("labels %v, finalizers %v", owned.Labels, owned.Finalizers)
	}
	if owner := metav1.GetControllerOf(owned); owner == nil || owner.UID != obj.UID {
		t.Errorf("the template is owned by %v", owner)
	}
	if !slices.Contains(obj.Finalizers, v1alpha1.FinalizerCleanup) {
		t.Errorf("finalizers are %v", obj.Finalizers)
	}
	status := obj.Status
	if status.TemplateConfigMap != "dev-template" || status.ObservedTemplateResourceVersion != owned.ResourceVersion ||
		status.ObservedGeneration != obj.Generation || status.RestartCount != 0 || status.Host != nil {
		t.Errorf("status:\n%s", show(obj))
	}
	if i := status.Instance; i == nil || i.CPUs != 2 || i.Memory.String() != "2Gi" || i.Disk.String() != "100Gi" ||
		i.VMType != "qemu" || i.Directory != "/fake/dev" || i.SSHPort != 0 {
		t.Errorf("instance:\n%s", show(obj))
	}
	for _, c := range status.Conditions {
		if c.ObservedGeneration != obj.Generation {
			t.Errorf("condition %s is of generation %d", c.Type, c.ObservedGeneration)
		}
	}
	d.awaitEvent("dev", v1alpha1.EventCreated)
	if n := d.machine.Count(vm.OpCreate, "dev"); n != 1 {
		t.Errorf("created %d times", n)
	}
}

func TestCreateIsShownWhileItLasts(t *testing.T) {
	d := newDaemon(t)
	release := d.hang(vm.OpCreate, "dev")
	d.create("dev")
	obj := d.await("dev", "Creating", func(obj *v1alpha1.LimaVM) bool { return obj.Status.Phase == v1alpha1.PhaseCreating })
	if obj.Status.Progress == nil || obj.Status.Progress.Stage == "" {
		t.Errorf("no progress:\n%s", show(obj))
	}
	d.awaitCondition("dev", v1alpha1.ConditionCreated, metav1.ConditionUnknown, v1alpha1.ReasonPending)
	release()
	if obj = d.awaitStopped("dev"); obj.Status.Progress != nil {
		t.Errorf("there is still progress:\n%s", show(obj))
	}
}

func TestStartAndStop(t *testing.T) {
	d := newDaemon(t)
	release := d.hang(vm.OpStart, "dev")
	d.create("dev", running)
	obj := d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStarting)
	if obj.Status.Phase != v1alpha1.PhaseStarting || obj.Status.ObservedTemplateResourceVersion != "" {
		t.Errorf("starting:\n%s", show(obj))
	}
	release()
	obj = d.awaitRunning("dev")
	if obj.Status.RestartCount != 1 || obj.Status.Host == nil || obj.Status.Host.PID == 0 || obj.Status.Host.Adopted ||
		obj.Status.Instance.SSHPort == 0 || obj.Status.ObservedTemplateResourceVersion == "" || obj.Status.Phase != v1alpha1.PhaseRunning {
		t.Errorf("running:\n%s", show(obj))
	}

	release = d.hang(vm.OpStop, "dev")
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false })
	obj = d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStopping)
	if obj.Status.Phase != v1alpha1.PhaseStopping {
		t.Errorf("stopping:\n%s", show(obj))
	}
	release()
	obj = d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStopped)
	if obj.Status.RestartCount != 1 || obj.Status.Host != nil || obj.Status.Instance.SSHPort != 0 {
		t.Errorf("stopped:\n%s", show(obj))
	}
	d.change("dev", running)
	if obj = d.awaitRunning("dev"); obj.Status.RestartCount != 2 {
		t.Errorf("started again:\n%s", show(obj))
	}
	for _, reason := range []string{v1alpha1.EventStarting, v1alpha1.EventStarted, v1alpha1.EventStopping, v1alpha1.EventStopped} {
		d.awaitEvent("dev", reason)
	}
}

func TestDelete(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.delete("dev")
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
	d.awaitGone(&corev1.ConfigMapList{}, "dev-template")
	if _, ok := d.machine.Exists("dev"); ok {
		t.Error("the instance is still there")
	}
	if n := d.machine.Count(vm.OpStop, "dev"); n != 1 {
		t.Errorf("stopped %d times", n)
	}
}

func TestDeleteKeepsItsOrder(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	release := d.hang(vm.OpDelete, "dev")
	d.delete("dev")
	obj := d.awaitCondition("dev", v1alpha1.ConditionCreated, metav1.ConditionFalse, v1alpha1.ReasonDeleting)
	if obj.Status.Phase != v1alpha1.PhaseDeleting {
		t.Errorf("phase is %s", obj.Status.Phase)
	}
	if owned := d.owned("dev"); !owned.DeletionTimestamp.IsZero() {
		t.Error("the template goes before the instance")
	}
	release()
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
	d.awaitGone(&corev1.ConfigMapList{}, "dev-template")
}

func TestDeleteWhileCreating(t *testing.T) {
	d := newDaemon(t)
	d.hang(vm.OpCreate, "dev")
	d.create("dev")
	d.await("dev", "Creating", func(obj *v1alpha1.LimaVM) bool { return obj.Status.Phase == v1alpha1.PhaseCreating })
	d.delete("dev")
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
	d.awaitGone(&corev1.ConfigMapList{}, "dev-template")
}

func TestDeleteForcesWhatHangs(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.hang(vm.OpStop, "dev")
	d.delete("dev") // within the default grace of 30 s
	d.await("dev", "stopping", func(obj *v1alpha1.LimaVM) bool {
		c := meta.FindStatusCondition(obj.Status.Conditions, v1alpha1.ConditionRunning)
		return c != nil && c.Reason == v1alpha1.ReasonStopping
	})
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.StopGracePeriodSeconds = ptr.To[int32](0) })
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
}

func TestDeleteFails(t *testing.T) {
	d := newDaemon(t, frozen)
	d.create("dev")
	d.awaitStopped("dev")
	d.failing(vm.OpDelete, "the disk is read-only")
	d.delete("dev")
	obj := d.await("dev", "a reason why it is still there", func(obj *v1alpha1.LimaVM) bool {
		return strings.Contains(meta.FindStatusCondition(obj.Status.Conditions, v1alpha1.ConditionCreated).Message, "the disk is read-only")
	})
	if obj.Status.Phase != v1alpha1.PhaseDeleting {
		t.Errorf("phase is %s", obj.Status.Phase)
	}
	d.machine.Behave(nil)
	d.thaw()
	d.annotate("dev", "example.com/look-again")
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
}

// Whoever removes the finalizer by hand leaves the instance behind, but must not leave a ConfigMap that cannot be deleted.
func TestOrphanedTemplateIsReleased(t *testing.T) {
	d := newDaemon(t)
	d.hang(vm.OpDelete, "dev")
	d.create("dev")
	d.awaitStopped("dev")
	d.delete("dev")
	d.awaitCondition("dev", v1alpha1.ConditionCreated, metav1.ConditionFalse, v1alpha1.ReasonDeleting)
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Finalizers = nil })
	d.awaitGone(&v1alpha1.LimaVMList{}, "dev")
	d.awaitGone(&corev1.ConfigMapList{}, "dev-template")
}

func TestRemovedFinalizerComesBack(t *testing.T) {
	d := newDaemon(t)
	d.create("dev")
	d.awaitStopped("dev")
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Finalizers = nil })
	d.await("dev", "the finalizer", func(obj *v1alpha1.LimaVM) bool { return len(obj.Finalizers) == 1 })
}

func TestForceStop(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.hang(vm.OpStop, "dev")
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false })
	d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStopping)
	d.annotate("dev", v1alpha1.AnnotationForceStop)
	d.awaitStopped("dev")
	if event := d.awaitEvent("dev", v1alpha1.EventForcedStop); event.Type != corev1.EventTypeWarning {
		t.Errorf("ForcedStop is %s", event.Type)
	}
	d.await("dev", "the annotation removed", func(obj *v1alpha1.LimaVM) bool {
		return !metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationForceStop)
	})
	if n := d.machine.Count(vm.OpStop, "dev"); n != 1 {
		t.Errorf("stopped %d times", n)
	}
}

// One that is asked for by the same change holds; one that is asked for when nothing is to be stopped is dropped, and so
// cannot shoot the VM much later.
func TestForceStopIsForThisStopOnly(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.annotate("dev", v1alpha1.AnnotationForceStop)
	d.await("dev", "the annotation removed", func(obj *v1alpha1.LimaVM) bool {
		return !metav1.HasAnnotation(obj.ObjectMeta, v1alpha1.AnnotationForceStop)
	})
	d.awaitRunning("dev")
	d.hang(vm.OpStop, "dev")
	d.change("dev", func(obj *v1alpha1.LimaVM) {
		obj.Spec.Running = false
		metav1.SetMetaDataAnnotation(&obj.ObjectMeta, v1alpha1.AnnotationForceStop, "")
	})
	d.awaitStopped("dev")
	d.awaitEvent("dev", v1alpha1.EventForcedStop)
}

func TestOneStuckVMBlocksNoOther(t *testing.T) {
	d := newDaemon(t)
	d.create("stuck", running)
	d.awaitRunning("stuck")
	d.hang(vm.OpStop, "stuck")
	d.change("stuck", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false })
	d.awaitCondition("stuck", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStopping)
	observations := d.driver.Observations("stuck")
	for _, name := range []string{"one", "two", "three", "four", "five"} {
		d.create(name, running)
	}
	for _, name := range []string{"one", "two", "three", "four", "five"} {
		d.awaitRunning(name)
		d.delete(name)
		d.awaitGone(&v1alpha1.LimaVMList{}, name)
	}
	d.awaitCondition("stuck", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStopping)
	// Nor is it looked at over and over: only its own last status and Events are still on their way.
	if n := d.driver.Observations("stuck") - observations; n > 5 {
		t.Errorf("it was looked at %d times while nothing happened", n)
	}
	d.annotate("stuck", v1alpha1.AnnotationForceStop)
	d.awaitStopped("stuck")
}

func TestStopFails(t *testing.T) {
	d := newDaemon(t, frozen)
	d.create("dev", running)
	d.awaitRunning("dev")
	d.failing(vm.OpStop, "its agent does not let go")
	d.change("dev", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false })
	obj := d.awaitCondition("dev", v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonStopFailed)
	if obj.Status.Phase != v1alpha1.PhaseFailed {
		t.Errorf("phase is %s", obj.Status.Phase)
	}
	d.awaitEvent("dev", v1alpha1.EventBackOff)
	d.machine.Behave(nil)
	d.annotate("dev", v1alpha1.AnnotationForceStop)
	d.awaitStopped("dev")
}
