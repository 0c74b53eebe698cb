package limavm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// scene is what a status is made from; the zero value is an object that was just created.
type scene struct {
	want     want
	got      got
	observed vm.Observed
	template template
	conflict string
	outcome  outcome
	before   v1alpha1.LimaVMStatus
	began    time.Time
}

func (s scene) report() v1alpha1.LimaVMStatus {
	obj := &v1alpha1.LimaVM{ObjectMeta: metav1.ObjectMeta{Name: "dev", Generation: 7}, Status: s.before}
	s.template.state = s.got.template
	if s.observed.Failure != nil {
		s.got.failed = s.observed.Failure.During
	}
	f := facts{
		name: "dev", want: s.want, got: s.got, observed: s.observed, template: s.template, conflict: s.conflict,
		nextTry: heldUntil(s.observed.Failure),
		created: meta.FindStatusCondition(s.before.Conditions, v1alpha1.ConditionCreated) != nil,
		began:   s.began, now: s.began.Add(time.Second),
	}
	return report(obj, f, s.outcome)
}

func failure(during vm.Operation, count int) vm.Observed {
	return vm.Observed{Failure: &vm.Failure{
		During: during, Message: "it went wrong", ExitStatus: "exit status 3", LogTail: []string{"one", "two"}, Count: count,
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}}
}

// failureOf is of a template.
func failureOf(version string, during vm.Operation) vm.Observed {
	observed := failure(during, 1)
	observed.Failure.TemplateVersion = version
	return observed
}

var statusTests = []struct {
	name                       string
	scene                      scene
	created, running, degraded string // STATUS REASON
	phase                      v1alpha1.Phase
	parts                      []string // of the messages
}{
	{"the daemon has just started", scene{got: got{state: vm.Unknown}},
		"Unknown Pending", "Unknown Reconciling", "False NotRunning", v1alpha1.PhasePending, nil},
	{"just created", scene{got: got{state: vm.Absent}},
		"Unknown Pending", "False Stopped", "False NotRunning", v1alpha1.PhasePending, nil},
	{"being made", scene{got: got{state: vm.Creating}},
		"Unknown Pending", "False Stopped", "False NotRunning", v1alpha1.PhaseCreating, nil},
	{"no source", scene{got: got{state: vm.Absent}, outcome: outcome{StepCopyTemplate, errors.New("ConfigMap x not found")}},
		"False CreateFailed", "False Stopped", "False NotRunning", v1alpha1.PhaseFailed, []string{"ConfigMap x not found"}},
	{"creation refused", scene{got: got{state: vm.Absent}, outcome: outcome{StepCreate, errors.New("not\nnow")}},
		"False CreateFailed", "False Stopped", "False NotRunning", v1alpha1.PhaseFailed, []string{"not; now"}},
	{"creation failed", scene{got: got{state: vm.Absent, held: true}, observed: failure(vm.OpCreate, 3)},
		"False CreateFailed", "False Stopped", "False NotRunning", v1alpha1.PhaseFailed,
		[]string{"it went wrong (exit status 3)", "3 times in a row", "next attempt at 2026-01-02T03:04:09Z", "  one\n  two", "rdd limavm status dev"}},
	{"template invalid", scene{got: got{state: vm.Absent, template: templateInvalid}, template: template{problem: "bad template"}},
		"False CreateFailed", "False Stopped", "False NotRunning", v1alpha1.PhaseFailed, []string{"bad template"}},
	{"name taken by a ConfigMap", scene{got: got{state: vm.Absent, template: templateForeign}, template: template{problem: "already exists"}},
		"False CreateFailed", "False Stopped", "False NotRunning", v1alpha1.PhaseFailed, []string{"already exists"}},
	{"name taken by an instance", scene{got: got{state: vm.Foreign, taken: true}, conflict: "already used"},
		"False CreateFailed", "False Stopped", "False NotRunning", v1alpha1.PhaseFailed, []string{"already used"}},
	{"a directory in the way", scene{got: got{state: vm.Foreign}},
		"Unknown Pending", "False Stopped", "False NotRunning", v1alpha1.PhasePending, []string{"moved aside"}},
	{"somebody lives in a directory in the way", scene{got: got{state: vm.Foreign, held: true}, observed: failure(vm.OpCreate, 1)},
		"False CreateFailed", "False Stopped", "False NotRunning", v1alpha1.PhaseFailed, []string{"it went wrong", "next attempt at"}},
	{"the disk cannot be read", scene{got: got{state: vm.Unknown}, observed: failure(vm.OpCreate, 1)},
		"Unknown Pending", "Unknown Reconciling", "False NotRunning", v1alpha1.PhasePending, []string{"cannot find out what is there: it went wrong"}},
	{"an error of the API server", scene{got: got{state: vm.Absent}, outcome: outcome{StepAddFinalizer, errors.New("timeout")}},
		"Unknown Pending", "False Stopped", "False NotRunning", v1alpha1.PhasePending, nil},
	{"stopped", scene{got: got{state: vm.Stopped}},
		"True Created", "False Stopped", "False NotRunning", v1alpha1.PhaseStopped, nil},
	{"about to start", scene{want: want{running: true}, got: got{state: vm.Stopped}},
		"True Created", "False Stopped", "False NotRunning", v1alpha1.PhaseStopped, nil},
	{"starting", scene{want: want{running: true}, got: got{state: vm.Starting}},
		"True Created", "False Starting", "False NotRunning", v1alpha1.PhaseStarting, nil},
	{"running", scene{want: want{running: true}, got: got{state: vm.Running}},
		"True Created", "True Started", "False Healthy", v1alpha1.PhaseRunning, nil},
	{"degraded", scene{want: want{running: true}, got: got{state: vm.Running}, observed: vm.Observed{Degraded: []string{"no port", "no mount"}}},
		"True Created", "True Started", "True HostAgentError", v1alpha1.PhaseRunning, []string{"no port; no mount"}},
	{"running with its former template", scene{want: want{running: true}, got: got{state: vm.Running, template: templateInvalid}, template: template{problem: "bad template"}},
		"True Created", "True Started", "True TemplateInvalid", v1alpha1.PhaseRunning, []string{"bad template"}},
	{"stopping", scene{got: got{state: vm.Stopping}},
		"True Created", "False Stopping", "False NotRunning", v1alpha1.PhaseStopping, nil},
	{"stop failed", scene{got: got{state: vm.Running}, observed: failure(vm.OpStop, 1)},
		"True Created", "False StopFailed", "False Healthy", v1alpha1.PhaseFailed, []string{"it went wrong"}},
	{"stop refused", scene{got: got{state: vm.Running}, outcome: outcome{StepStop, errors.New("not now")}},
		"True Created", "False StopFailed", "False Healthy", v1alpha1.PhaseFailed, []string{"not now"}},
	{"start failed", scene{want: want{running: true}, got: got{state: vm.Stopped, held: true}, observed: failure(vm.OpStart, 1)},
		"True Created", "False StartFailed", "False NotRunning", v1alpha1.PhaseFailed, []string{"it went wrong", "next attempt at"}},
	{"start refused", scene{want: want{running: true}, got: got{state: vm.Stopped}, outcome: outcome{StepStart, errors.New("not now")}},
		"True Created", "False StartFailed", "False NotRunning", v1alpha1.PhaseFailed, []string{"not now"}},
	{"template not applied", scene{want: want{running: true}, got: got{state: vm.Stopped}, observed: failure(vm.OpApply, 1)},
		"True Created", "False StartFailed", "False NotRunning", v1alpha1.PhaseFailed, []string{"it went wrong"}},
	{"template not applicable", scene{want: want{running: true}, got: got{state: vm.Stopped, template: templateInvalid}, template: template{problem: "bad template"}},
		"True Created", "False StartFailed", "False NotRunning", v1alpha1.PhaseFailed, []string{"bad template"}},
	{"a template not applied, and another one since", scene{want: want{running: true}, got: got{state: vm.Stopped, template: templateReady},
		template: template{version: "two"}, observed: failureOf("one", vm.OpApply), outcome: outcome{StepApply, errors.New("the one is being applied")}},
		"True Created", "False Stopped", "False NotRunning", v1alpha1.PhaseStopped, nil},
	{"the same template not applied", scene{want: want{running: true}, got: got{state: vm.Stopped, template: templateReady},
		template: template{version: "one"}, observed: failureOf("one", vm.OpApply)},
		"True Created", "False StartFailed", "False NotRunning", v1alpha1.PhaseFailed, []string{"it went wrong"}},
	{"not created from a template, and another one since", scene{got: got{state: vm.Absent, template: templateReady},
		template: template{version: "two"}, observed: failureOf("one", vm.OpCreate)},
		"Unknown Pending", "False Stopped", "False NotRunning", v1alpha1.PhasePending, nil},
	{"start failed, and the template changed since", scene{want: want{running: true}, got: got{state: vm.Stopped, template: templateReady},
		observed: failure(vm.OpStart, 2)},
		"True Created", "False Stopped", "False NotRunning", v1alpha1.PhaseStopped, nil},
	{"crashed, and the template changed since", scene{want: want{running: true}, got: got{state: vm.Stopped, template: templateReady},
		observed: failure(vm.OpRun, 2)},
		"True Created", "False Stopped", "False NotRunning", v1alpha1.PhaseStopped, nil},
	{"crashed", scene{want: want{running: true}, got: got{state: vm.Stopped}, observed: failure(vm.OpRun, 1)},
		"True Created", "False Crashed", "False NotRunning", v1alpha1.PhaseFailed, []string{"it went wrong (exit status 3)", "  two"}},
	{"crashed again", scene{want: want{running: true}, got: got{state: vm.Stopped, held: true}, observed: failure(vm.OpRun, 2)},
		"True Created", "False BackOff", "False NotRunning", v1alpha1.PhaseFailed, []string{"2 times in a row", "next attempt at 2026-01-02T03:04:06Z"}},
	{"crashed for good", scene{want: want{running: true, never: true}, got: got{state: vm.Stopped, held: true}, observed: failure(vm.OpRun, 2)},
		"True Created", "False Crashed", "False NotRunning", v1alpha1.PhaseFailed, []string{"stays down"}},
	{"crashed, and no longer wanted", scene{got: got{state: vm.Stopped}, observed: failure(vm.OpRun, 2)},
		"True Created", "False Stopped", "False NotRunning", v1alpha1.PhaseStopped, nil},
	{"reset", scene{want: want{running: true, reset: true}, got: got{state: vm.Deleting}},
		"False Deleting", "False Stopped", "False NotRunning", v1alpha1.PhaseCreating, nil},
	{"deleted while running", scene{want: want{running: true, deleting: true}, got: got{state: vm.Running}},
		"True Created", "True Started", "False Healthy", v1alpha1.PhaseDeleting, nil},
	{"deleted while being made", scene{want: want{deleting: true}, got: got{state: vm.Creating}},
		"False Deleting", "False Stopped", "False NotRunning", v1alpha1.PhaseDeleting, nil},
	{"deletion failed", scene{want: want{deleting: true}, got: got{state: vm.Stopped, held: true}, observed: failure(vm.OpDelete, 1)},
		"True Created", "False Stopped", "False NotRunning", v1alpha1.PhaseDeleting, []string{"cannot be removed: it went wrong"}},
	{"deletion done", scene{want: want{deleting: true}, got: got{state: vm.Absent}},
		"False Deleting", "False Stopped", "False NotRunning", v1alpha1.PhaseDeleting, nil},
}

func TestStatus(t *testing.T) {
	for _, test := range statusTests {
		t.Run(test.name, func(t *testing.T) {
			status := test.scene.report()
			var messages []string
			for kind, want := range map[string]string{
				v1alpha1.ConditionCreated: test.created, v1alpha1.ConditionRunning: test.running, v1alpha1.ConditionDegraded: test.degraded,
			} {
				c := meta.FindStatusCondition(status.Conditions, kind)
				if c == nil {
					t.Errorf("no condition %s", kind)
					continue
				}
				if got := string(c.Status) + " " + c.Reason; got != want {
					t.Errorf("%s is %s, want %s", kind, got, want)
				}
				if c.ObservedGeneration != 7 || c.Message == "" {
					t.Errorf("%s: generation %d, message %q", kind, c.ObservedGeneration, c.Message)
				}
				messages = append(messages, c.Message)
			}
			generation := int64(7)
			if test.scene.got.state == vm.Unknown || test.scene.got.draining { // nothing was decided yet
				generation = 0
			}
			if status.Phase != test.phase || status.ObservedGeneration != generation {
				t.Errorf("phase %s, want %s; generation %d, want %d", status.Phase, test.phase, status.ObservedGeneration, generation)
			}
			for _, part := range test.parts {
				if all := strings.Join(messages, "\n"); !strings.Contains(all, part) {
					t.Errorf("no message has %q:\n%s", part, all)
				}
			}
		})
	}
}

func host(pid int) *vm.Host {
	return &vm.Host{Agent: process.Identity{PID: pid, StartTime: uint64(pid)}, StartedAt: time.Unix(1, 5)}
}

func TestRestartCount(t *testing.T) {
	before := v1alpha1.LimaVMStatus{}
	for _, step := range []struct {
		name  string
		state vm.State
		host  *vm.Host
		count int32
		shown int32 // PID
	}{
		{"stopped", vm.Stopped, nil, 0, 0},
		{"starting", vm.Starting, host(1), 0, 0},
		{"up", vm.Running, host(1), 1, 1},
		{"still up", vm.Running, host(1), 1, 1},
		{"the next daemon", vm.Unknown, nil, 1, 1},
		{"adopted", vm.Running, host(1), 1, 1},
		{"the daemon after that, seen stopping", vm.Stopping, host(1), 1, 1},
		{"stopped", vm.Stopped, nil, 1, 0},
		{"starting again", vm.Starting, host(2), 1, 0},
		{"a daemon dies meanwhile", vm.Unknown, nil, 1, 0},
		{"up when the next one looks", vm.Running, host(2), 2, 2},
		{"another one at once", vm.Running, host(3), 3, 3},
	} {
		before = scene{got: got{state: step.state}, observed: vm.Observed{Host: step.host}, before: before}.report()
		pid := int32(0)
		if before.Host != nil {
			pid = before.Host.PID
		}
		if before.RestartCount != step.count || pid != step.shown {
			t.Errorf("%s: count %d, PID %d; want %d, %d", step.name, before.RestartCount, pid, step.count, step.shown)
		}
	}
}

func TestObservedTemplateMovesWhenFullyApplied(t *testing.T) {
	for _, test := range []struct {
		name             string
		running, applied bool
		state            vm.State
		want             string
	}{
		{"running with the former one", true, false, vm.Running, "1"},
		{"stopped for it", true, false, vm.Stopped, "1"},
		{"written", true, true, vm.Stopped, "1"},
		{"starting with it", true, true, vm.Starting, "1"},
		{"running with it", true, true, vm.Running, "2"},
		{"written to what shall not run", false, true, vm.Stopped, "2"},
		{"running, and not meant to", false, true, vm.Running, "1"},
	} {
		s := scene{
			want: want{running: test.running}, got: got{state: test.state, applied: test.applied, template: templateReady},
			template: template{resourceVersion: "2"}, before: v1alpha1.LimaVMStatus{ObservedTemplateResourceVersion: "1"},
		}
		if got := s.report().ObservedTemplateResourceVersion; got != test.want {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

func TestForeignInstancesAreNotReported(t *testing.T) {
	status := scene{got: got{state: vm.Foreign}, observed: vm.Observed{
		State: vm.Running, Host: host(1), Instance: &vm.Instance{CPUs: 1}, Progress: &vm.Progress{Stage: "x"}, TemplateVersion: "v",
	}}.report()
	if status.Host != nil || status.Instance != nil || status.Progress != nil || status.AppliedTemplate != "" {
		t.Errorf("got %+v", status)
	}
}

func TestEventsTellWhatIsNew(t *testing.T) {
	stopped := scene{want: want{running: true}, got: got{state: vm.Stopped}}
	starting := scene{want: want{running: true}, got: got{state: vm.Starting}, observed: vm.Observed{Host: host(1)}}
	up := scene{want: want{running: true}, got: got{state: vm.Running}, observed: vm.Observed{Host: host(1)}}
	adopted := up
	adopted.observed.Host = &vm.Host{Agent: host(1).Agent, Adopted: true}
	stopping := scene{got: got{state: vm.Stopping}, observed: vm.Observed{Host: host(1)}}
	crashed := scene{want: want{running: true}, got: got{state: vm.Stopped}, observed: failure(vm.OpRun, 1)}
	again := scene{want: want{running: true}, got: got{state: vm.Stopped, held: true}, observed: failure(vm.OpRun, 2)}
	failed := scene{want: want{running: true}, got: got{state: vm.Stopped, held: true}, observed: failure(vm.OpStart, 1)}
	degraded := up
	degraded.observed.Degraded = []string{"no port"}
	unknown := scene{got: got{state: vm.Unknown}}
	off := scene{got: got{state: vm.Stopped}}
	oldTemplate, newTemplate := off, off
	oldTemplate.observed.TemplateVersion, newTemplate.observed.TemplateVersion = "1", "2"

	for _, test := range []struct {
		name     string
		from, to scene
		want     []string
	}{
		{"made", scene{got: got{state: vm.Creating}}, stopped, []string{"Created"}},
		{"start", stopped, starting, []string{"Starting"}},
		{"up", starting, up, []string{"Started"}},
		{"still up", up, up, nil},
		{"stop", up, stopping, []string{"Stopping"}},
		{"down", stopping, off, []string{"Stopped"}},
		{"crash", up, crashed, []string{"Crashed"}},
		{"second crash", up, again, []string{"Crashed", "BackOff"}},
		{"pause goes on", again, again, nil},
		{"start fails", starting, failed, []string{"BackOff"}},
		{"start fails again, later", failed, again, []string{"Crashed", "BackOff"}},
		{"given up by the user", again, off, nil},
		{"degraded", up, degraded, []string{"Degraded"}},
		{"still degraded", degraded, degraded, nil},
		{"verifying", up, unknown, nil},
		{"adopted", up, adopted, []string{"Adopted"}},
		{"still adopted", adopted, adopted, nil},
		{"another template", oldTemplate, newTemplate, []string{"TemplateApplied"}},
	} {
		before := test.from.report()
		test.to.before = before
		after := test.to.report()
		var reasons []string
		for _, notice := range changes(before, after, facts{got: test.to.got}) {
			reasons = append(reasons, notice.Reason)
			warning := slices.Contains([]string{"Crashed", "BackOff", "Degraded"}, notice.Reason)
			if notice.Warning != warning || notice.Message == "" {
				t.Errorf("%s: %+v", test.name, notice)
			}
		}
		if !slices.Equal(reasons, test.want) {
			t.Errorf("%s: %q, want %q", test.name, reasons, test.want)
		}
	}
}

// TestEachDaemonDatesRunningAnew: a daemon that finds out at once what runs does not show Unknown in between, and clients wait for
// what is true since it started.
func TestEachDaemonDatesRunningAnew(t *testing.T) {
	up := scene{got: got{state: vm.Running}, observed: vm.Observed{Host: &vm.Host{Agent: process.Identity{PID: 1}, Adopted: true}}}
	date := func(status v1alpha1.LimaVMStatus) time.Time {
		return meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRunning).LastTransitionTime.Time
	}
	first := up.report()
	next := up
	next.before, next.began = first, date(first).Add(time.Hour)
	second := next.report()
	if got := date(second); got.Before(next.began) {
		t.Errorf("the next daemon began at %s and dates Running %s", next.began, got)
	}
	if notices := changes(first, second, facts{got: up.got}); len(notices) != 1 || notices[0].Reason != v1alpha1.EventAdopted {
		t.Errorf("the second adoption is told as %+v", notices)
	}
	next.before = second
	third := next.report()
	if !date(third).Equal(date(second)) || len(changes(second, third, facts{got: up.got})) != 0 {
		t.Errorf("looking again changed the date from %s to %s, or was told", date(second), date(third))
	}
}

func TestPause(t *testing.T) {
	for _, test := range []struct {
		during vm.Operation
		count  int
		want   time.Duration
	}{
		{vm.OpRun, 1, 0},
		{vm.OpRun, 2, time.Second},
		{vm.OpRun, 3, 2 * time.Second},
		{vm.OpStart, 1, time.Second},
		{vm.OpStart, 2, 2 * time.Second},
		{vm.OpCreate, 9, 256 * time.Second},
		{vm.OpCreate, 10, 5 * time.Minute},
		{vm.OpStart, 1 << 40, 5 * time.Minute},
	} {
		if got := pause(&vm.Failure{During: test.during, Count: test.count}); got != test.want {
			t.Errorf("%s for the %dth time: %v, want %v", test.during, test.count, got, test.want)
		}
	}
}

// TestHeld: by a pause that is not over, and not by a failure of the future, which a clock that was set back leaves.
func TestHeld(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for ago, want := range map[time.Duration]bool{
		0: true, time.Second: true, 4 * time.Second: false, time.Hour: false, -time.Second: true, -time.Hour: false, -20 * 365 * 24 * time.Hour: false,
	} {
		if got := held(&vm.Failure{During: vm.OpStart, Count: 3, At: now.Add(-ago)}, now); got != want {
			t.Errorf("failed %s ago, to be tried again after 4 s: held %t, want %t", ago, got, want)
		}
	}
	if held(nil, now) || held(&vm.Failure{During: vm.OpRun, Count: 1, At: now}, now) {
		t.Error("held without a pause")
	}
}

func TestShorten(t *testing.T) {
	if got := shorten(strings.Repeat("ä", 600), 1000); len(got) > 1000 || !strings.HasSuffix(got, " …") || strings.Contains(got, "�") {
		t.Errorf("got %d bytes: %q", len(got), got)
	}
	if got := shorten("short", 5); got != "short" {
		t.Errorf("got %q", got)
	}
}
