package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cheggaaa/pb/v3"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// progress shows a user who waits how far a VM is.
type progress interface {
	show(vm *v1alpha1.LimaVM)
	// stop ends the display; again is fine.
	stop()
}

func (a *app) newProgress(name string) progress {
	switch {
	case a.quiet:
		return silent{}
	case a.isTerminal(a.Stderr) && !a.env.plain:
		return newBar(a.Stderr, name)
	default:
		return &lines{w: a.Stderr, name: name}
	}
}

func (a *app) isTerminal(stream any) bool {
	file, ok := isFile(stream)
	return ok && term.IsTerminal(int(file.Fd()))
}

// stageOf is what a VM is doing, in words, and how much of it is done: -1 when that cannot be told.
func stageOf(vm *v1alpha1.LimaVM) (stage string, percent int) {
	if p := vm.Status.Progress; p != nil {
		stage, percent = p.Stage, -1
		if p.Percent != nil {
			percent = int(*p.Percent)
		}
		return stage, percent
	}
	if vm.Status.Phase == "" {
		return string(v1alpha1.PhasePending), -1
	}
	return string(vm.Status.Phase), -1
}

// resting: nothing is under way, so that there is nothing to show to who waits for something.
func resting(vm *v1alpha1.LimaVM) bool {
	return vm.Status.Progress == nil && (vm.Status.Phase == v1alpha1.PhaseStopped || vm.Status.Phase == v1alpha1.PhaseRunning)
}

// troubleOf is what is wrong with a VM that is waited for, or empty.
func troubleOf(vm *v1alpha1.LimaVM) string {
	if vm.Status.Phase != v1alpha1.PhaseFailed {
		return ""
	}
	for _, kind := range []string{v1alpha1.ConditionCreated, v1alpha1.ConditionRunning} {
		if c := meta.FindStatusCondition(vm.Status.Conditions, kind); c != nil && c.Status != "True" && c.Message != "" {
			return firstLine(c.Message)
		}
	}
	return ""
}

// firstLine leaves out the evidence that follows the cause: the command that it names shows more of it.
func firstLine(message string) string {
	line, _, _ := strings.Cut(message, "\n")
	return line
}

type silent struct{}

func (silent) show(*v1alpha1.LimaVM) {}
func (silent) stop()                 {}

// lines prints one line a stage, for logs and pipes.
type lines struct {
	w    io.Writer
	name string
	last string
}

func (l *lines) show(vm *v1alpha1.LimaVM) {
	if vm == nil {
		return
	}
	stage, _ := stageOf(vm)
	if trouble := troubleOf(vm); trouble != "" {
		stage += ": " + trouble
	}
	if stage != l.last && !resting(vm) {
		l.last = stage
		fmt.Fprintf(l.w, "%s: %s\n", l.name, stage)
	}
}

func (*lines) stop() {}

// bar is one line on a terminal that changes in place: stage, bar where the percentage is known, elapsed time.
type bar struct{ pb *pb.ProgressBar }

const (
	barWithPercent    = `{{string . "name"}}: {{string . "stage"}} {{bar . "[" "=" ">" " " "]"}} {{percent . "%3.0f%%"}} {{string . "details"}}{{seconds .}}`
	barWithoutPercent = `{{string . "name"}}: {{string . "stage"}} {{cycle . "|" "/" "-" "\\"}} {{string . "details"}}{{seconds .}}`
	barMaxWidth       = 120
)

func newBar(w io.Writer, name string) *bar {
	// The library's own element shows fractions, which nobody can read at this rate.
	pb.RegisterElement("seconds", pb.ElementFunc(func(state *pb.State, _ ...string) string {
		return time.Since(state.StartTime()).Truncate(time.Second).String()
	}), false)
	b := pb.New(100)
	b.Set(pb.CleanOnFinish, true).Set("name", name).Set("stage", "…").Set("details", "")
	b.SetTemplateString(barWithoutPercent).SetWriter(w).SetMaxWidth(barMaxWidth).SetRefreshRate(200 * time.Millisecond)
	return &bar{pb: b.Start()}
}

func (b *bar) show(vm *v1alpha1.LimaVM) {
	if vm == nil {
		return
	}
	stage, percent := stageOf(vm)
	if trouble := troubleOf(vm); trouble != "" {
		stage += ": " + trouble
	}
	details := "" // of a download: bytes, rate, time left
	if p := vm.Status.Progress; p != nil && p.Message != "" {
		details = p.Message + " "
	}
	b.pb.Set("stage", stage).Set("details", details)
	if percent < 0 {
		b.pb.SetTemplateString(barWithoutPercent)
		return
	}
	b.pb.SetCurrent(int64(percent)).SetTemplateString(barWithPercent)
}

func (b *bar) stop() {
	if !b.pb.IsFinished() {
		b.pb.Finish()
	}
}
