package process

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
)

func TestKill(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	h := child.open()
	if !h.Alive() || h.Identity() != child.Identity() {
		t.Fatal("a living process is not found")
	}
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.Wait(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if h.Alive() {
		t.Error("a killed process is alive")
	}
	for name, act := range map[string]func() error{"kill": h.Kill, "interrupt": h.Interrupt} {
		if err := act(); !errors.Is(err, ErrGone) {
			t.Errorf("%s of a process that is gone: %v", name, err)
		}
	}
	if _, err := Open(child.Identity()); !errors.Is(err, ErrGone) {
		t.Errorf("a process that is gone can be opened: %v", err)
	}
}

// Without the comparison in Open, the child dies here.
func TestOpenRefusesStrangers(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	id := child.Identity()
	for name, other := range map[string]Identity{
		"older":        {PID: id.PID, StartTime: id.StartTime - 1, BootID: id.BootID},
		"younger":      {PID: id.PID, StartTime: id.StartTime + 1, BootID: id.BootID},
		"unproven":     {PID: id.PID, BootID: id.BootID},
		"earlier boot": {PID: id.PID, StartTime: id.StartTime, BootID: "another"},
	} {
		h, err := Open(other)
		if err == nil {
			t.Errorf("%s: a stranger was opened", name)
			_ = h.Kill()
			continue
		}
		var stranger *StrangerError
		if !errors.Is(err, ErrGone) || !errors.As(err, &stranger) || stranger.Want != other || stranger.Found.Identity != id {
			t.Errorf("%s: %v", name, err)
		}
		if err := KillTree(deadline(t), other, other); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !alive(t, id) {
		t.Error("a stranger was killed")
	}
}

// What is known of a process that the system does not let us open is what is known of one that it does.
func TestIdentifyDoesNotOpen(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	want, err := Describe(child.Identity().PID)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := identify(want.PID); err != nil || got.Identity != want.Identity || got.Name != want.Name {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
	if err := child.open().Kill(); err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if got, err := identify(want.PID); err == nil && got.Identity == want.Identity {
		t.Errorf("it is still known after its end: %+v", got)
	}
}

func TestWaitForAProcessOfAnotherParent(t *testing.T) {
	parent := perform(t, "parent", "session")
	for _, id := range parent.expect(2) {
		if id == parent.Identity() {
			continue
		}
		h := open(t, id)
		ctx, cancel := context.WithCancel(deadline(t))
		cancel()
		if err := h.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait with a context that is done: %v", err)
		}
		var waiters sync.WaitGroup
		for range 3 {
			waiters.Go(func() {
				if err := h.Wait(deadline(t)); err != nil {
					t.Error(err)
				}
			})
		}
		if err := h.Kill(); err != nil {
			t.Error(err)
		}
		waiters.Wait()
	}
}

func TestCloseEndsWait(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	h := child.open()
	failed := make(chan error)
	go func() { failed <- h.Wait(deadline(t)) }()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait on a closed handle: %v", err)
	}
	for name, act := range map[string]func() error{"kill": h.Kill, "interrupt": h.Interrupt} {
		if err := act(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s through a closed handle: %v", name, err)
		}
	}
	if !h.Alive() {
		t.Error("a closed handle claims that a living process has ended")
	}
	if err := h.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestHandleIsSafeForConcurrentUse(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	ctx, cancel := context.WithCancel(deadline(t))
	for range 50 {
		h := child.open()
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() { _ = h.Wait(ctx) })
			users.Go(func() { _ = h.Interrupt() })
			users.Go(func() { h.Alive() })
			users.Go(func() { _ = h.Close() })
		}
		users.Wait()
	}
	cancel()
	if !alive(t, child.Identity()) {
		t.Error("the child that ignores interrupts is gone")
	}
}
