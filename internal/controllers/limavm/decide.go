package limavm

import "github.com/seed-192657fa/rdd/internal/vm"

// want is what the object asks for.
type want struct {
	deleting bool // the object is being deleted
	running  bool // spec.running
	never    bool // spec.restartPolicy is Never
	force    bool // the annotation forceStop is there
	reset    bool // the annotation resetRequested is there
	// A restart is asked for by an annotation, noted in the status, and only then carried out, so that each is done once,
	// whenever the daemon dies.
	restartAsked bool
	restartNoted bool
}

// got is what is there.
type got struct {
	state     vm.State     // Foreign also when the instance belongs to another object
	taken     bool         // it does, so that there will be no room for ours
	draining  bool         // the driver starts nothing any more
	failed    vm.Operation // what failed last; empty after a success
	held      bool         // the pause after that failure is not over
	fresh     bool         // the spec or the template has changed since that failure was reported: no reason to wait
	template  templateState
	applied   bool // the instance has the present template and params
	finalizer bool // our finalizer is on the object
}

// templateState is where the ConfigMap with the VM's template stands.
type templateState int

const (
	templateMissing templateState = iota
	templateReady
	templateInvalid // ours, but its content cannot be used
	templateForeign // the name is taken by a ConfigMap that is not ours
	templateStale   // left by a former object of the same name
)

// Step is one thing to do. Each is safe to repeat.
type Step string

// The steps.
const (
	StepNone            Step = ""
	StepAddFinalizer    Step = "AddFinalizer"
	StepNoteRestart     Step = "NoteRestart"     // status.restartNeeded
	StepForgetRestart   Step = "ForgetRestart"   // the annotation, now that the restart is noted
	StepForgetReset     Step = "ForgetReset"     // the annotation, now that the instance is gone
	StepForgetForce     Step = "ForgetForce"     // the annotation, now that nothing is to be stopped
	StepEndRestart      Step = "EndRestart"      // no more status.restartNeeded
	StepRestart         Step = "Restart"         // no more status.restartNeeded; then start, without waiting for a backoff
	StepCopyTemplate    Step = "CopyTemplate"    // from spec.templateRef into the ConfigMap of our own
	StepReleaseTemplate Step = "ReleaseTemplate" // the ConfigMap, and our finalizer on it
	StepCreate          Step = "Create"
	StepApply           Step = "Apply"
	StepStart           Step = "Start"
	StepStop            Step = "Stop"
	StepStopNow         Step = "StopNow" // without grace
	StepDelete          Step = "Delete"
	StepRemoveFinalizer Step = "RemoveFinalizer"
)

// decide is the whole life of a VM: the next thing to do, given what is wanted and what is there.
//
// What takes long is only requested; the driver announces the outcome, and decide is asked again.
func decide(w want, g got) Step {
	switch {
	case g.state == vm.Unknown:
		return StepNone
	case w.deleting:
		return decideDeletion(w, g)
	case !g.finalizer:
		return StepAddFinalizer
	case w.restartAsked && !w.restartNoted:
		return StepNoteRestart
	case w.restartAsked:
		return StepForgetRestart
	case w.force && !stopDue(w, g):
		return StepForgetForce
	}
	switch g.state {
	case vm.Absent:
		return decideAbsent(w, g)
	case vm.Foreign:
		if !g.taken { // the driver makes room, if it can
			return decideAbsent(w, g)
		}
	case vm.Stopped:
		return decideStopped(w, g)
	case vm.Starting, vm.Running, vm.Stopping:
		if stopDue(w, g) {
			return decideStop(w, g)
		}
	}
	return StepNone // Creating and Deleting end by themselves; what is taken is nothing of ours
}

// stopDue tells whether a living instance has to end. One that is stopping cannot be called back: it ends first.
func stopDue(w want, g got) bool {
	switch g.state {
	case vm.Stopping:
		return true
	case vm.Starting, vm.Running:
		return w.deleting || !w.running || w.restartNoted || w.reset || outdated(g)
	}
	return false
}

// outdated tells whether the instance should get another template.
func outdated(g got) bool {
	return g.template == templateReady && !g.applied
}

// decideStop also repeats the request while it is Stopping: the driver joins it to the stop under way, and the grace, which
// may have been shortened, holds for one that an earlier daemon began.
func decideStop(w want, g got) Step {
	switch {
	case w.force:
		return StepStopNow
	case waits(g, vm.OpStop):
		return StepNone
	}
	return StepStop
}

func decideAbsent(w want, g got) Step {
	switch {
	case w.restartNoted:
		return StepEndRestart
	case w.reset:
		return StepForgetReset
	case g.template == templateStale:
		return StepReleaseTemplate
	case g.draining:
		return StepNone
	case g.template == templateMissing:
		return StepCopyTemplate
	case g.template != templateReady, waits(g, vm.OpCreate):
		return StepNone
	}
	return StepCreate
}

func decideStopped(w want, g got) Step {
	switch {
	case w.reset && waits(g, vm.OpDelete):
		return StepNone
	case w.reset:
		return StepDelete
	case w.restartNoted && !w.running:
		return StepEndRestart
	case g.draining, g.template == templateInvalid:
		return StepNone
	case outdated(g) && waits(g, vm.OpApply):
		return StepNone
	case outdated(g):
		return StepApply
	case !w.running:
		return StepNone
	case w.restartNoted:
		return StepRestart
	case g.failed == vm.OpRun && w.never && !g.fresh:
		return StepNone
	case waits(g, vm.OpStart), waits(g, vm.OpRun):
		return StepNone
	}
	return StepStart
}

// decideDeletion removes the instance, then its template, then lets go of the object.
func decideDeletion(w want, g got) Step {
	if !g.finalizer {
		return StepNone
	}
	switch g.state {
	case vm.Starting, vm.Running, vm.Stopping:
		return decideStop(w, g)
	case vm.Creating:
		return StepDelete
	case vm.Stopped:
		if waits(g, vm.OpDelete) {
			return StepNone
		}
		return StepDelete
	case vm.Absent, vm.Foreign:
		switch g.template {
		case templateReady, templateInvalid, templateStale:
			return StepReleaseTemplate
		}
		return StepRemoveFinalizer
	}
	return StepNone
}

// waits tells whether the pause after a failed op is to be waited out.
func waits(g got, op vm.Operation) bool {
	return g.failed == op && g.held && !g.fresh
}
