package limavm

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// outcome is what became of the step that was decided upon.
type outcome struct {
	step Step
	err  error // the request was refused; what was begun and failed later is in vm.Observed.Failure
}

// during returns the error if the step was one of steps.
func (o outcome) during(steps ...Step) error {
	for _, step := range steps {
		if o.step == step {
			return o.err
		}
	}
	return nil
}

// report makes the status: a function of the object, the facts, and what became of the step.
//
// While the driver is still verifying, what was known of the instance stays.
func report(obj *v1alpha1.LimaVM, f facts, o outcome) v1alpha1.LimaVMStatus {
	status := *obj.Status.DeepCopy()
	if considered(f) {
		status.ObservedGeneration = obj.Generation
	}
	if f.template.state == templateReady || f.template.state == templateInvalid {
		status.TemplateConfigMap = obj.TemplateConfigMapName()
	}
	if f.got.state != vm.Unknown {
		reportInstance(&status, f)
	}
	foundAnew(status.Conditions, f)
	for _, condition := range conditions(f, o) {
		condition.ObservedGeneration = obj.Generation
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	status.Phase = phase(status, f)
	return status
}

// considered tells whether the spec has had its effect on what was decided. While the driver verifies, or starts nothing any more, it
// has not: the next visit, or the next daemon's, must still see that it has changed.
func considered(f facts) bool { return f.got.state != vm.Unknown && !f.got.draining }

// foundAnew dates the condition Running as if it had been Unknown since another daemon reported it. So it was, but where the driver
// finds out at once, nobody sees it; and clients wait for what is true since this daemon started.
func foundAnew(conditions []metav1.Condition, f facts) {
	running := meta.FindStatusCondition(conditions, v1alpha1.ConditionRunning)
	if running != nil && f.got.state != vm.Unknown && running.LastTransitionTime.Time.Before(f.began.Truncate(time.Second)) {
		running.LastTransitionTime = metav1.NewTime(f.now.Truncate(time.Second))
	}
}

// reportInstance fills in what the driver tells.
func reportInstance(status *v1alpha1.LimaVMStatus, f facts) {
	observed := f.observed
	if f.got.state == vm.Foreign { // whatever is there is not ours
		observed = vm.Observed{}
	}
	status.AppliedTemplate = observed.TemplateVersion
	switch {
	case fullyApplied(f):
		status.ObservedTemplateResourceVersion = f.template.resourceVersion
	case status.ObservedTemplateResourceVersion == f.template.resourceVersion && !f.got.applied:
		status.ObservedTemplateResourceVersion = "" // it is the same ConfigMap, with other params, or for an instance that has gone
	}
	status.Instance = instanceStatus(observed.Instance)
	status.Progress = progressStatus(observed.Progress)

	previous := status.Host
	switch status.Host = hostStatus(observed.Host); {
	case status.Host == nil:
	case f.got.state == vm.Running:
		// A count of its own would miss the agent that came up while no daemon looked, or count one twice.
		if previous == nil || previous.Identity != status.Host.Identity {
			status.RestartCount++
		}
	case previous == nil || previous.Identity != status.Host.Identity:
		status.Host = nil // it is reported, and counted, when it is up
	}
}

// fullyApplied tells whether the instance has the present template and, if it should run, runs with it.
func fullyApplied(f facts) bool {
	if f.template.state != templateReady || !f.got.applied {
		return false
	}
	if f.want.running {
		return f.got.state == vm.Running
	}
	return f.got.state == vm.Stopped
}

func hostStatus(host *vm.Host) *v1alpha1.HostStatus {
	if host == nil {
		return nil
	}
	identity := host.Agent.String()
	if host.Agent.BootID != "" {
		identity += "/" + host.Agent.BootID
	}
	result := &v1alpha1.HostStatus{
		PID:       int32(host.Agent.PID),
		Identity:  identity,
		DriverPID: int32(host.Driver.PID),
		Adopted:   host.Adopted,
	}
	if !host.StartedAt.IsZero() {
		result.StartTime = ptr.To(metav1.NewTime(host.StartedAt.Truncate(time.Second)))
	}
	return result
}

func instanceStatus(instance *vm.Instance) *v1alpha1.InstanceStatus {
	if instance == nil {
		return nil
	}
	return &v1alpha1.InstanceStatus{
		Directory: instance.Directory,
		VMType:    instance.VMType,
		Arch:      instance.Arch,
		CPUs:      int32(instance.CPUs),
		Memory:    bytes(instance.Memory),
		Disk:      bytes(instance.Disk),
		SSHPort:   int32(instance.SSHPort),
	}
}

func bytes(n int64) *resource.Quantity {
	if n == 0 {
		return nil
	}
	return resource.NewQuantity(n, resource.BinarySI)
}

func progressStatus(progress *vm.Progress) *v1alpha1.ProgressStatus {
	if progress == nil {
		return nil
	}
	result := &v1alpha1.ProgressStatus{Stage: progress.Stage, Message: progress.Message}
	if progress.Percent >= 0 {
		result.Percent = ptr.To(int32(min(progress.Percent, 100)))
	}
	return result
}
