package limavm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// conditions makes all conditions that the facts tell about. One that they cannot tell about is left as it is.
func conditions(f facts, o outcome) []metav1.Condition {
	result := []metav1.Condition{created(f, o), running(f, o), degraded(f)}
	return slices.DeleteFunc(result, func(c metav1.Condition) bool { return c.Type == "" })
}

func created(f facts, o outcome) metav1.Condition {
	yes := condition(v1alpha1.ConditionCreated, metav1.ConditionTrue)
	no := condition(v1alpha1.ConditionCreated, metav1.ConditionFalse)
	pending := condition(v1alpha1.ConditionCreated, metav1.ConditionUnknown)

	switch f.got.state {
	case vm.Unknown:
		if f.created {
			return metav1.Condition{} // it was reported, and nothing is known that contradicts it
		}
		if f.observed.Failure != nil {
			return pending(v1alpha1.ReasonPending, "the daemon cannot find out what is there: "+describe(f))
		}
		return pending(v1alpha1.ReasonPending, "the daemon is finding out what is there")
	case vm.Creating:
		if f.want.deleting {
			return no(v1alpha1.ReasonDeleting, "the creation of the instance is being called off")
		}
		return pending(v1alpha1.ReasonPending, "the instance is being made")
	case vm.Deleting:
		return no(v1alpha1.ReasonDeleting, "the instance is being removed")
	case vm.Foreign:
		if f.got.taken {
			return no(v1alpha1.ReasonCreateFailed, f.conflict)
		}
		if cause := whyNotCreated(f, o); cause != "" {
			return no(v1alpha1.ReasonCreateFailed, cause)
		}
		return pending(v1alpha1.ReasonPending, "a directory that rdd did not make is in the way of the instance, and about to be moved aside")
	case vm.Absent:
		if f.want.deleting {
			return no(v1alpha1.ReasonDeleting, "the instance is removed")
		}
		if cause := whyNotCreated(f, o); cause != "" {
			return no(v1alpha1.ReasonCreateFailed, cause)
		}
		return pending(v1alpha1.ReasonPending, "the instance is about to be made")
	}
	if cause := failed(f, o, []vm.Operation{vm.OpDelete}, StepDelete); cause != "" {
		return yes(v1alpha1.ReasonCreated, "the instance cannot be removed: "+cause)
	}
	if f.got.state == vm.Stopped && !f.want.running {
		// Not that it was refused: then the former template is still being applied, and this one's turn comes.
		if cause := failed(f, o, []vm.Operation{vm.OpApply}); cause != "" {
			return yes(v1alpha1.ReasonCreated, "the changed template cannot be applied to the instance: "+cause)
		}
	}
	return yes(v1alpha1.ReasonCreated, "the instance exists")
}

// whyNotCreated tells what keeps the instance from being made; empty if nothing does.
func whyNotCreated(f facts, o outcome) string {
	switch f.got.template {
	case templateInvalid, templateForeign:
		return f.template.problem
	}
	return failed(f, o, []vm.Operation{vm.OpCreate}, StepCopyTemplate, StepCreate)
}

func running(f facts, o outcome) metav1.Condition {
	yes := condition(v1alpha1.ConditionRunning, metav1.ConditionTrue)
	no := condition(v1alpha1.ConditionRunning, metav1.ConditionFalse)

	switch f.got.state {
	case vm.Unknown:
		unknown := condition(v1alpha1.ConditionRunning, metav1.ConditionUnknown)
		if f.observed.Failure != nil {
			return unknown(v1alpha1.ReasonReconciling, "the daemon cannot find out whether the VM runs: "+describe(f))
		}
		return unknown(v1alpha1.ReasonReconciling, "the daemon has just started and is finding out whether the VM runs")
	case vm.Starting:
		return no(v1alpha1.ReasonStarting, "the VM is starting")
	case vm.Stopping:
		if cause := failed(f, o, []vm.Operation{vm.OpStop}, StepStop, StepStopNow); cause != "" {
			return no(v1alpha1.ReasonStopFailed, cause)
		}
		return no(v1alpha1.ReasonStopping, "the VM is being shut down")
	case vm.Running:
		if cause := failed(f, o, []vm.Operation{vm.OpStop}, StepStop, StepStopNow); cause != "" {
			return no(v1alpha1.ReasonStopFailed, cause)
		}
		return yes(v1alpha1.ReasonStarted, "the guest has booted and answers over ssh")
	case vm.Stopped:
		return stopped(f, o)
	}
	return no(v1alpha1.ReasonStopped, "there is no instance")
}

// stopped tells why an instance that exists does not run.
func stopped(f facts, o outcome) metav1.Condition {
	no := condition(v1alpha1.ConditionRunning, metav1.ConditionFalse)

	if !f.want.running || f.want.deleting {
		return no(v1alpha1.ReasonStopped, "the VM is shut down")
	}
	if f.got.template == templateInvalid {
		return no(v1alpha1.ReasonStartFailed, f.template.problem)
	}
	if cause := failed(f, o, []vm.Operation{vm.OpStart, vm.OpApply}, StepStart, StepRestart); cause != "" {
		return no(v1alpha1.ReasonStartFailed, cause)
	}
	if f.got.failed != vm.OpRun || f.outlived() {
		return no(v1alpha1.ReasonStopped, "the VM is shut down")
	}
	switch cause := describe(f); {
	case f.want.never:
		return no(v1alpha1.ReasonCrashed, "the VM died, and stays down until its spec changes or a restart is requested: "+cause)
	case f.got.held:
		return no(v1alpha1.ReasonBackOff, "the VM died: "+cause)
	default:
		return no(v1alpha1.ReasonCrashed, "the VM died: "+cause)
	}
}

func degraded(f facts) metav1.Condition {
	yes := condition(v1alpha1.ConditionDegraded, metav1.ConditionTrue)
	no := condition(v1alpha1.ConditionDegraded, metav1.ConditionFalse)

	switch {
	case f.got.state != vm.Running:
		return no(v1alpha1.ReasonNotRunning, "the VM does not run")
	case len(f.observed.Degraded) > 0:
		return yes(v1alpha1.ReasonHostAgentError, strings.Join(f.observed.Degraded, "; "))
	case f.got.template == templateInvalid:
		return yes(v1alpha1.ReasonTemplateInvalid, "the VM runs with its former template: "+f.template.problem)
	}
	return no(v1alpha1.ReasonHealthy, "the VM does what was asked for")
}

// failed tells why one of ops failed, or one of the steps that request them was refused; empty if neither did. What a former
// template led to says nothing about the present one, and who waits for that must not take it for an answer.
func failed(f facts, o outcome, ops []vm.Operation, steps ...Step) string {
	if err := o.during(steps...); err != nil {
		return oneLine(err.Error())
	}
	if f.outlived() {
		return ""
	}
	for _, op := range ops {
		if f.got.failed == op {
			return describe(f)
		}
	}
	return ""
}

// describe words the last failure for people: what failed, how it ended, what comes next, and the last lines of the log.
func describe(f facts) string {
	failure := f.observed.Failure
	var text strings.Builder
	text.WriteString(failure.Message)
	if failure.ExitStatus != "" && !strings.Contains(failure.Message, failure.ExitStatus) {
		fmt.Fprintf(&text, " (%s)", failure.ExitStatus)
	}
	if failure.Count > 1 {
		fmt.Fprintf(&text, "; %d times in a row", failure.Count)
	}
	if f.got.held && !(f.got.failed == vm.OpRun && f.want.never) {
		fmt.Fprintf(&text, "; next attempt at %s", f.nextTry.UTC().Format(time.RFC3339))
	}
	where := "logs"
	if failure.During == vm.OpCreate { // what was half made is gone, with its log
		where = "status"
	}
	fmt.Fprintf(&text, "; more: rdd limavm %s %s", where, f.name)
	if len(failure.LogTail) > 0 {
		text.WriteString("\nlast lines of the log:\n  " + strings.Join(failure.LogTail, "\n  "))
	}
	return text.String()
}

// condition makes conditions of one type and status.
func condition(kind string, status metav1.ConditionStatus) func(reason, message string) metav1.Condition {
	return func(reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: shorten(message, maxConditionMessage)}
	}
}

// maxConditionMessage is the limit in the schema of metav1.Condition, in bytes.
const maxConditionMessage = 32768

// shorten cuts a message that the API server would refuse.
func shorten(message string, limit int) string {
	if len(message) <= limit {
		return message
	}
	const mark = " …"
	return strings.ToValidUTF8(message[:limit-len(mark)], "") + mark
}

// phase is one word for people, and a function of the conditions that were just made.
func phase(status v1alpha1.LimaVMStatus, f facts) v1alpha1.Phase {
	created := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionCreated)
	running := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRunning)
	switch {
	case f.want.deleting:
		return v1alpha1.PhaseDeleting
	case created.Reason == v1alpha1.ReasonCreateFailed:
		return v1alpha1.PhaseFailed
	case f.got.state == vm.Creating, f.got.state == vm.Deleting: // deleted, to be made anew
		return v1alpha1.PhaseCreating
	case f.got.state == vm.Absent, f.got.state == vm.Foreign, f.got.state == vm.Unknown:
		return v1alpha1.PhasePending
	}
	switch running.Reason {
	case v1alpha1.ReasonStarted:
		return v1alpha1.PhaseRunning
	case v1alpha1.ReasonStarting:
		return v1alpha1.PhaseStarting
	case v1alpha1.ReasonStopping:
		return v1alpha1.PhaseStopping
	case v1alpha1.ReasonStopped:
		return v1alpha1.PhaseStopped
	}
	return v1alpha1.PhaseFailed
}
