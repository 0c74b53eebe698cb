package cli

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

var errGone = errors.New("the VM was deleted meanwhile")

// created is reached when the instance exists on disk.
func created(vm *v1alpha1.LimaVM) (bool, error) {
	if vm == nil {
		return false, errGone
	}
	condition := current(vm, v1alpha1.ConditionCreated)
	if condition == nil {
		return false, nil
	}
	if condition.Reason == v1alpha1.ReasonCreateFailed {
		return false, fmt.Errorf("cannot create VM %q: %s", vm.Name, firstLine(condition.Message))
	}
	return condition.Status == metav1.ConditionTrue, nil
}

// running is reached when the guest answers.
func running(vm *v1alpha1.LimaVM) (bool, error) {
	if vm == nil {
		return false, errGone
	}
	if _, err := created(vm); err != nil {
		return false, err
	}
	if !vm.Spec.Running {
		return false, fmt.Errorf("cannot start VM %q: it was asked to stop meanwhile", vm.Name)
	}
	condition := current(vm, v1alpha1.ConditionRunning)
	if condition == nil {
		return false, nil
	}
	if failsToRun(condition) {
		return false, fmt.Errorf("cannot start VM %q: %s", vm.Name, firstLine(condition.Message))
	}
	return condition.Status == metav1.ConditionTrue, nil
}

// stopped is reached when nothing of the VM runs any more.
func stopped(vm *v1alpha1.LimaVM) (bool, error) {
	if vm == nil {
		return true, nil
	}
	if vm.Spec.Running {
		return false, fmt.Errorf("cannot stop VM %q: it was asked to start meanwhile", vm.Name)
	}
	condition := current(vm, v1alpha1.ConditionRunning)
	if condition == nil {
		// It never was created, and never will run.
		return current(vm, v1alpha1.ConditionCreated) != nil, nil
	}
	if condition.Reason == v1alpha1.ReasonStopFailed {
		return false, fmt.Errorf("cannot stop VM %q: %s", vm.Name, firstLine(condition.Message))
	}
	return condition.Status == metav1.ConditionFalse && condition.Reason != v1alpha1.ReasonStopping &&
		condition.Reason != v1alpha1.ReasonStarting, nil
}

// gone is reached when the object is.
func gone(vm *v1alpha1.LimaVM) (bool, error) { return vm == nil, nil }

// current is a condition that takes the present spec into account, or nil.
func current(vm *v1alpha1.LimaVM, kind string) *metav1.Condition {
	condition := meta.FindStatusCondition(vm.Status.Conditions, kind)
	if condition == nil || condition.ObservedGeneration < vm.Generation {
		return nil
	}
	return condition
}

func failsToRun(condition *metav1.Condition) bool {
	switch condition.Reason {
	case v1alpha1.ReasonStartFailed, v1alpha1.ReasonCrashed, v1alpha1.ReasonBackOff:
		return true
	}
	return false
}

// failureOf is the condition that tells why a VM is not as it should be, or nil.
func failureOf(vm *v1alpha1.LimaVM) *metav1.Condition {
	created := meta.FindStatusCondition(vm.Status.Conditions, v1alpha1.ConditionCreated)
	if created != nil && created.Reason == v1alpha1.ReasonCreateFailed {
		return created
	}
	running := meta.FindStatusCondition(vm.Status.Conditions, v1alpha1.ConditionRunning)
	if running != nil && (failsToRun(running) || running.Reason == v1alpha1.ReasonStopFailed) {
		return running
	}
	return nil
}

// afterwards makes a goal out of what a request to a VM leads to. The VM may have failed before, and reports so until the
// request is carried out: a failure counts only when it is another one, or when something has begun since.
//
// pending tells that the request was not taken up yet; reached, that it is done.
func afterwards(before *v1alpha1.LimaVM, what string, pending, reached func(vm *v1alpha1.LimaVM) bool) func(*v1alpha1.LimaVM) (bool, error) {
	old, begun := failureText(before), false
	return func(vm *v1alpha1.LimaVM) (bool, error) {
		if vm == nil {
			return false, errGone
		}
		failure := failureText(vm)
		switch {
		case pending(vm):
			old = failure
			return false, nil
		case reached(vm):
			return true, nil
		case failure == "":
			begun = begun || vm.Status.Phase != before.Status.Phase
			return false, nil
		case begun || failure != old:
			return false, fmt.Errorf("cannot %s VM %q: %s", what, vm.Name, firstLine(failure))
		}
		return false, nil
	}
}

func failureText(vm *v1alpha1.LimaVM) string {
	if failure := failureOf(vm); failure != nil {
		return failure.Message
	}
	return ""
}

// settled tells whether a VM is where its spec wants it, running or not.
func settled(vm *v1alpha1.LimaVM) bool {
	if vm.Spec.Running {
		done, err := running(vm)
		return done && err == nil
	}
	return vm.Status.Phase == v1alpha1.PhaseStopped && vm.Status.ObservedGeneration == vm.Generation
}

// hasTemplate tells whether a VM has its template's ConfigMap of a version, or of a later one, fully applied; of any version where
// none is given.
func hasTemplate(vm *v1alpha1.LimaVM, version string) bool {
	observed := vm.Status.ObservedTemplateResourceVersion
	if version == "" {
		return observed != ""
	}
	order, err := resourceversion.CompareResourceVersion(observed, version)
	return err == nil && order >= 0
}
