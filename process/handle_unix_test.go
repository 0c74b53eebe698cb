//go:build linux || darwin

package process

import (
	"errors"
	"os"
	"testing"
)

func TestInterrupt(t *testing.T) {
	child := perform(t, "polite")
	child.expect(1)
	if err := child.open().Interrupt(); err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if child.ExitCode() != 7 {
		t.Errorf("the child was not asked: %s", child.ExitStatus())
	}
}

// Signal 0 says that a zombie lives.
func TestAZombieIsDead(t *testing.T) {
	ropeEnd, rope := pipe(t)
	_, w := pipe(t)
	proc, err := os.StartProcess(executable(t), []string{"deaf"}, &os.ProcAttr{
		Env:   append(os.Environ(), roleVariable+"=deaf"),
		Files: []*os.File{nil, nil, os.Stderr, ropeEnd, w},
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := identify(proc.Pid)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(info.Identity)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	_ = rope.Close()
	_ = w.Close()
	if err := h.Wait(deadline(t)); err != nil {
		t.Error(err)
	}
	if h.Alive() {
		t.Error("a zombie is alive")
	}
	if err := h.Kill(); !errors.Is(err, ErrGone) {
		t.Errorf("a zombie was killed: %v", err)
	}
	if proc.Signal(os.Interrupt) != nil {
		t.Error("this is no zombie")
	}
	if _, err := Find(proc.Pid); !errors.Is(err, ErrGone) {
		t.Errorf("a zombie is alive: %v", err)
	}
	if _, err := proc.Wait(); err != nil {
		t.Error(err)
	}
}
