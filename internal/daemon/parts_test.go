package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// journal is what happened, in order.
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) add(entry string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
}

func (j *journal) part(name string) part {
	return part{
		name:  name,
		start: func(context.Context) (<-chan error, error) { j.add("start " + name); return nil, nil },
		stop: func(_ context.Context, why reason) error {
			j.add("stop " + name + []string{" asked", " handover", " broken"}[why])
			return nil
		},
		deadline: within(time.Minute),
	}
}

func (j *journal) hooks(ready func() error) hooks {
	return hooks{
		ready:  ready,
		why:    func() reason { return asked },
		ending: func(reason) error { j.add("ending"); return nil },
	}
}

func (j *journal) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(j.entries, want) {
		t.Errorf("what happened: %q\nwant: %q", j.entries, want)
	}
}

func TestPartsStopInReverse(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	err := runParts(ctx, slog.New(slog.DiscardHandler), []part{j.part("a"), j.part("b")}, j.hooks(func() error { j.add("ready"); cancel(); return nil }))
	if err != nil {
		t.Errorf("runParts: %v", err)
	}
	j.want(t, "start a", "start b", "ready", "ending", "stop b asked", "stop a asked")
}

func TestAPartThatDoesNotStartEndsTheOthers(t *testing.T) {
	var j journal
	bad := j.part("bad")
	bad.start = func(context.Context) (<-chan error, error) { return nil, errors.New("no luck") }
	err := runParts(t.Context(), slog.New(slog.DiscardHandler), []part{j.part("a"), bad, j.part("c")}, j.hooks(func() error { j.add("ready"); return nil }))
	if err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("runParts: %v", err)
	}
	j.want(t, "start a", "ending", "stop a broken")
}

func TestAPartThatFailsEndsTheOthersWithItsError(t *testing.T) {
	var j journal
	failed := make(chan error, 1)
	failing := j.part("failing")
	failing.start = func(context.Context) (<-chan error, error) { return failed, nil }
	stubborn := j.part("stubborn")
	stubborn.stop = func(context.Context, reason) error { return errors.New("will not") }
	err := runParts(t.Context(), slog.New(slog.DiscardHandler), []part{j.part("a"), stubborn, failing},
		j.hooks(func() error { failed <- errors.New("disk full"); return nil }))
	for _, want := range []string{"failing failed: disk full", "cannot stop stubborn: will not"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("runParts: %v, want %q in it", err, want)
		}
	}
	j.want(t, "start a", "start stubborn", "ending", "stop failing broken", "stop a broken")
}

func TestAPartThatEndsWithoutAnErrorHasFailed(t *testing.T) {
	var j journal
	failed := make(chan error, 1)
	failing := j.part("failing")
	failing.start = func(context.Context) (<-chan error, error) { return failed, nil }
	failed <- nil
	err := runParts(t.Context(), slog.New(slog.DiscardHandler), []part{failing}, j.hooks(func() error { return nil }))
	if err == nil || !strings.Contains(err.Error(), "without having been asked") {
		t.Errorf("runParts: %v", err)
	}
}

func TestAskedToEndWhileStarting(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	interrupted := j.part("interrupted")
	interrupted.start = func(ctx context.Context) (<-chan error, error) { cancel(); return nil, ctx.Err() }
	if err := runParts(ctx, slog.New(slog.DiscardHandler), []part{j.part("a"), interrupted}, j.hooks(func() error { return nil })); err != nil {
		t.Errorf("runParts: %v, want none: it was asked to end", err)
	}
	j.want(t, "start a", "ending", "stop a asked")
}

func TestAPartThatIgnoresItsDeadlineIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		stuck := j.part("stuck")
		release := make(chan struct{})
		stuck.stop = func(context.Context, reason) error { <-release; return nil }
		ctx, cancel := context.WithCancel(t.Context())
		err := runParts(ctx, slog.New(slog.DiscardHandler), []part{j.part("a"), stuck}, j.hooks(func() error { cancel(); return nil }))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("runParts: %v, want a deadline that was exceeded", err)
		}
		j.want(t, "start a", "start stuck", "ending", "stop a asked")
		close(release)
	})
}

func TestAHandoverIsToldToTheParts(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	h := j.hooks(func() error { cancel(); return nil })
	h.why = func() reason { return handover }
	if err := runParts(ctx, slog.New(slog.DiscardHandler), []part{j.part("a")}, h); err != nil {
		t.Errorf("runParts: %v", err)
	}
	j.want(t, "start a", "ending", "stop a handover")
}
