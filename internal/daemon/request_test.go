package daemon

import (
	"log/slog"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// TestARequestEndsTheDaemonThatItIsFor: it needs no signal, and one for a daemon that is gone is void.
func TestARequestEndsTheDaemonThatItIsFor(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	dead := self
	dead.StartTime--
	if err := ask(inst, request{Daemon: dead, KeepVMs: true}); err != nil {
		t.Fatal(err)
	}
	if got := readRequest(inst, self); got != nil {
		t.Errorf("a request to a dead daemon is taken for our own: %+v", got)
	}
	ctx, end := withRequests(t.Context(), inst, self, slog.New(slog.DiscardHandler))
	defer end()
	if err := ask(inst, request{Daemon: self, KeepVMs: true}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("the request was not noticed")
	}
	if got := readRequest(inst, self); got == nil || !got.KeepVMs {
		t.Errorf("the request: %+v", got)
	}
}
