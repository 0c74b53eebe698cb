package limavm

import (
	"slices"
	"testing"

	"github.com/seed-192657fa/rdd/internal/vm"
)

var (
	allStates = []vm.State{
		vm.Unknown, vm.Absent, vm.Creating, vm.Stopped, vm.Starting, vm.Running, vm.Stopping, vm.Deleting, vm.Foreign,
	}
	allOperations = []vm.Operation{"", vm.OpCreate, vm.OpApply, vm.OpStart, vm.OpStop, vm.OpDelete, vm.OpRun}
	allTemplates  = []templateState{templateMissing, templateReady, templateInvalid, templateForeign, templateStale}
)

// every calls do with the whole cross product of inputs.
func every(do func(w want, g got)) {
	bit := func(n, i int) bool { return n>>i&1 == 1 }
	for n := range 1 << 7 {
		w := want{
			deleting: bit(n, 0), running: bit(n, 1), never: bit(n, 2), force: bit(n, 3), reset: bit(n, 4),
			restartAsked: bit(n, 5), restartNoted: bit(n, 6),
		}
		for m := range 1 << 6 {
			for _, state := range allStates {
				for _, operation := range allOperations {
					for _, template := range allTemplates {
						do(w, got{
							state: state, failed: operation, template: template,
							draining: bit(m, 0), held: bit(m, 1), fresh: bit(m, 2), applied: bit(m, 3), finalizer: bit(m, 4),
							taken: bit(m, 5),
						})
					}
				}
			}
		}
	}
}

// drives tells whether a step asks something of the driver.
func drives(s Step) bool {
	return s.in(StepCreate, StepApply, StepStart, StepRestart, StepStop, StepStopNow, StepDelete)
}

func (s Step) in(steps ...Step) bool { return slices.Contains(steps, s) }

func among(state vm.State, states ...vm.State) bool { return slices.Contains(states, state) }

// rules hold for each decision by itself.
var rules = []struct {
	name   string
	broken func(w want, g got, s Step) bool
}{
	{"nothing is done while the driver does not know", func(_ want, g got, s Step) bool {
		return g.state == vm.Unknown && s != StepNone
	}},
	{"what is being deleted is only ended", func(w want, _ got, s Step) bool {
		return w.deleting && !s.in(StepNone, StepStop, StepStopNow, StepDelete, StepReleaseTemplate, StepRemoveFinalizer)
	}},
	{"nothing of others is touched", func(_ want, g got, s Step) bool {
		return g.state == vm.Foreign && drives(s) && (g.taken || s != StepCreate)
	}},
	{"creation needs room, or the hope of it, a template, and no shutdown", func(_ want, g got, s Step) bool {
		return s == StepCreate && (!among(g.state, vm.Absent, vm.Foreign) || g.template != templateReady || g.draining)
	}},
	{"only what is stopped, wanted and up to date is started", func(w want, g got, s Step) bool {
		return s.in(StepStart, StepRestart) &&
			(g.state != vm.Stopped || !w.running || g.draining || g.template == templateInvalid || outdated(g) || w.reset)
	}},
	{"only what is stopped gets another template", func(_ want, g got, s Step) bool {
		return s == StepApply && (g.state != vm.Stopped || g.applied || g.template != templateReady || g.draining)
	}},
	{"only what lives is stopped, and only for a reason", func(w want, g got, s Step) bool {
		reason := w.deleting || !w.running || w.restartNoted || w.reset || outdated(g) || g.state == vm.Stopping
		return s.in(StepStop, StepStopNow) && (!among(g.state, vm.Starting, vm.Running, vm.Stopping) || !reason)
	}},
	{"force needs to be asked for", func(w want, _ got, s Step) bool {
		return s == StepStopNow && !w.force
	}},
	{"what is stopping is stopped for good", func(w want, g got, s Step) bool {
		return g.state == vm.Stopping && g.failed == "" && g.finalizer && !w.restartAsked && !s.in(StepStop, StepStopNow)
	}},
	{"an instance goes only with its object, or to be made anew", func(w want, g got, s Step) bool {
		stopped := g.state == vm.Stopped || (g.state == vm.Creating && w.deleting)
		return s == StepDelete && (!stopped || !w.deleting && !w.reset)
	}},
	{"the template outlives the instance, and the object both", func(w want, g got, s Step) bool {
		gone := among(g.state, vm.Absent, vm.Foreign)
		ours := g.template == templateReady || g.template == templateInvalid
		switch s {
		case StepReleaseTemplate:
			return !gone || (ours && !w.deleting) || g.template == templateMissing || g.template == templateForeign
		case StepRemoveFinalizer:
			return !gone || !w.deleting || ours || g.template == templateStale
		}
		return false
	}},
	{"a pause is waited out, unless something has changed", func(w want, g got, s Step) bool {
		if !g.held || g.fresh {
			return false
		}
		switch g.failed {
		case vm.OpCreate:
			return s == StepCreate
		case vm.OpApply:
			return s == StepApply
		case vm.OpStart, vm.OpRun:
			return s == StepStart
		case vm.OpStop:
			return s == StepStop
		case vm.OpDelete:
			return s == StepDelete && g.state == vm.Stopped
		}
		return false
	}},
	{"a change is a reason to try at once", func(w want, g got, s Step) bool {
		asked := w.deleting || w.force || w.reset || w.restartAsked || w.restartNoted || !g.finalizer || outdated(g)
		return g.fresh && g.state == vm.Stopped && w.running && !g.draining && g.template != templateInvalid && !asked && s != StepStart
	}},
	{"what died stays down if its policy says so", func(w want, g got, s Step) bool {
		return w.never && g.failed == vm.OpRun && !g.fresh && s == StepStart
	}},
	{"nothing that takes long begins during a shutdown", func(_ want, g got, s Step) bool {
		return g.draining && s.in(StepCopyTemplate, StepCreate, StepApply, StepStart, StepRestart)
	}},
	{"a restart is noted before it is forgotten, and over only when the VM is down", func(w want, g got, s Step) bool {
		switch s {
		case StepNoteRestart:
			return !w.restartAsked || w.restartNoted
		case StepForgetRestart:
			return !w.restartAsked || !w.restartNoted
		case StepEndRestart, StepRestart:
			return !w.restartNoted || w.restartAsked || !among(g.state, vm.Stopped, vm.Absent, vm.Foreign)
		}
		return false
	}},
	{"a reset is forgotten only when the instance is gone", func(w want, g got, s Step) bool {
		return s == StepForgetReset && (!w.reset || !among(g.state, vm.Absent, vm.Foreign))
	}},
	{"force is forgotten only when nothing is to be stopped", func(w want, g got, s Step) bool {
		return s == StepForgetForce && (!w.force || stopDue(w, g))
	}},
	{"what is as wanted is left alone", func(w want, g got, s Step) bool {
		asked := w.deleting || w.force || w.reset || w.restartAsked || w.restartNoted || !g.finalizer || outdated(g)
		return g.state == vm.Running && w.running && !asked && s != StepNone
	}},
}

func TestDecideRules(t *testing.T) {
	n, broken := 0, 0
	every(func(w want, g got) {
		n++
		step := decide(w, g)
		for _, rule := range rules {
			if broken < 10 && rule.broken(w, g, step) {
				broken++
				t.Errorf("%s: want %+v, got %+v: %q", rule.name, w, g, step)
			}
		}
	})
	t.Logf("%d combinations", n)
}

// world does a step, and all of it works.
func world(s Step, w want, g got) (want, got) {
	switch s {
	case StepAddFinalizer:
		g.finalizer = true
	case StepRemoveFinalizer:
		g.finalizer = false
	case StepNoteRestart:
		w.restartNoted = true
	case StepForgetRestart:
		w.restartAsked = false
	case StepForgetReset:
		w.reset = false
	case StepForgetForce:
		w.force = false
	case StepEndRestart:
		w.restartNoted = false
	case StepCopyTemplate:
		g.template = templateReady
	case StepReleaseTemplate:
		g.template = templateMissing
	case StepCreate:
		g.state, g.failed, g.applied = vm.Creating, "", true
	case StepApply:
		g.applied, g.failed = true, ""
	case StepStart:
		g.state, g.failed = vm.Starting, ""
	case StepRestart:
		w.restartNoted = false
		g.state, g.failed = vm.Starting, ""
	case StepStop, StepStopNow:
		if g.state == vm.Stopping {
			g.state, g.failed = vm.Stopped, ""
		} else {
			g.state, g.failed = vm.Stopping, ""
		}
	case StepDelete:
		g.state, g.failed, g.applied = vm.Deleting, "", false
	case StepNone: // time goes by
		switch {
		case g.held:
			g.held = false
		case g.state == vm.Creating, g.state == vm.Stopping:
			g.state = vm.Stopped
		case g.state == vm.Starting:
			g.state = vm.Running
		case g.state == vm.Deleting:
			g.state = vm.Absent
		}
	}
	return w, g
}

// From wherever it begins, repeating what decide says comes to an end, where the object has what it asks for.
func TestDecideReachesAFixedPoint(t *testing.T) {
	broken := 0
	every(func(w want, g got) {
		if g.state == vm.Unknown || broken >= 10 {
			return
		}
		w0, g0 := w, g
		var steps []Step
		for range 40 {
			step := decide(w, g)
			w1, g1 := world(step, w, g)
			if w1 == w && g1 == g {
				if step == StepNone {
					checkEnd(t, w0, g0, w, g, steps, &broken)
					return
				}
				t.Errorf("step %q changes nothing: want %+v, got %+v", step, w, g)
				broken++
				return
			}
			if step != StepNone {
				steps = append(steps, step)
			}
			w, g = w1, g1
		}
		broken++
		t.Errorf("no end: from want %+v, got %+v: %q", w0, g0, steps)
	})
}

// checkEnd judges where things came to rest.
func checkEnd(t *testing.T, w0 want, g0 got, w want, g got, steps []Step, broken *int) {
	t.Helper()
	fail := func(what string) {
		*broken++
		t.Errorf("%s: from want %+v, got %+v by %q to want %+v, got %+v", what, w0, g0, steps, w, g)
	}
	times := func(of ...Step) (n int) {
		for _, s := range steps {
			if s.in(of...) {
				n++
			}
		}
		return n
	}
	if times(StepCreate) > 1 || times(StepDelete) > 1 || times(StepStart, StepRestart) > 1 || times(StepApply) > 1 {
		fail("done twice")
	}
	blocked := g.template == templateInvalid || g.template == templateForeign
	stays := w.never && g.failed == vm.OpRun && !g.fresh
	switch {
	case w.deleting:
		if g.finalizer {
			fail("never let go")
		}
	case g.state == vm.Foreign && g.taken || g.draining || blocked:
	case g.state == vm.Stopped && stays:
	case w.running && g.state != vm.Running:
		fail("does not run")
	case !w.running && g.state != vm.Stopped:
		fail("is not stopped")
	case outdated(g), w.reset, w.restartAsked, w.restartNoted, w.force:
		fail("something is left to do")
	}
}

func TestDecideStories(t *testing.T) {
	ready := got{state: vm.Running, template: templateReady, applied: true, finalizer: true}
	with := func(g got, change func(*got)) got { change(&g); return g }
	for _, story := range []struct {
		name string
		w    want
		g    got
		want []Step
	}{
		{"new", want{}, got{state: vm.Absent}, []Step{StepAddFinalizer, StepCopyTemplate, StepCreate}},
		{"new and running", want{running: true}, got{state: vm.Absent, finalizer: true}, []Step{StepCopyTemplate, StepCreate, StepStart}},
		{"stop", want{}, ready, []Step{StepStop, StepStop}},
		{"stop by force", want{force: true}, ready, []Step{StepStopNow, StepStopNow, StepForgetForce}},
		{"restart", want{running: true, restartAsked: true}, ready, []Step{StepNoteRestart, StepForgetRestart, StepStop, StepStop, StepRestart}},
		{"restart of what is not wanted", want{restartAsked: true}, with(ready, func(g *got) { g.state = vm.Stopped }),
			[]Step{StepNoteRestart, StepForgetRestart, StepEndRestart}},
		{"restart of what backs off", want{running: true, restartAsked: true},
			with(ready, func(g *got) { g.state, g.failed, g.held = vm.Stopped, vm.OpStart, true }),
			[]Step{StepNoteRestart, StepForgetRestart, StepRestart}},
		{"reset", want{running: true, reset: true}, ready,
			[]Step{StepStop, StepStop, StepDelete, StepForgetReset, StepCreate, StepStart}},
		{"another template", want{running: true}, with(ready, func(g *got) { g.applied = false }),
			[]Step{StepStop, StepStop, StepApply, StepStart}},
		{"another template while stopped", want{}, with(ready, func(g *got) { g.state, g.applied = vm.Stopped, false }), []Step{StepApply}},
		{"deletion", want{running: true, deleting: true}, ready,
			[]Step{StepStop, StepStop, StepDelete, StepReleaseTemplate, StepRemoveFinalizer}},
		{"deletion while creating", want{deleting: true}, with(ready, func(g *got) { g.state = vm.Creating }),
			[]Step{StepDelete, StepReleaseTemplate, StepRemoveFinalizer}},
		{"deletion where another owns the instance", want{deleting: true}, with(ready, func(g *got) { g.state, g.taken = vm.Foreign, true }),
			[]Step{StepReleaseTemplate, StepRemoveFinalizer}},
		{"a directory in the way", want{running: true}, with(ready, func(g *got) { g.state, g.applied = vm.Foreign, false }),
			[]Step{StepCreate, StepStart}},
		{"somebody lives in a directory in the way", want{running: true},
			with(ready, func(g *got) { g.state, g.applied, g.failed, g.held = vm.Foreign, false, vm.OpCreate, true }),
			[]Step{StepCreate, StepStart}},
		{"crash", want{running: true}, with(ready, func(g *got) { g.state, g.failed = vm.Stopped, vm.OpRun }), []Step{StepStart}},
		{"crash during shutdown", want{running: true},
			with(ready, func(g *got) { g.state, g.failed, g.draining = vm.Stopped, vm.OpRun, true }), nil},
	} {
		t.Run(story.name, func(t *testing.T) {
			var steps []Step
			w, g := story.w, story.g
			for range 40 {
				step := decide(w, g)
				if step != StepNone {
					steps = append(steps, step)
				}
				w1, g1 := world(step, w, g)
				if w1 == w && g1 == g {
					break
				}
				w, g = w1, g1
			}
			if !slices.Equal(steps, story.want) {
				t.Errorf("got %q, want %q", steps, story.want)
			}
		})
	}
}
