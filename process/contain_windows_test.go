package process

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

// Nobody ends the family: the end of its head does. Without JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, or if the job had a second
// handle somewhere, processes are left here.
func TestTheJobEndsWithItsHead(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	neighbour := perform(t, "deaf")
	neighbour.expect(1)
	head := perform(t, "head", ledger, "child", "group", "session", "orphan", "nest")
	want := head.expect(7)
	family, err := ReadFamily(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := marked(family.mark); err != nil || !same(got, want) {
		t.Errorf("in the job are %v (%v), want %v", got, err, want)
	}
	if err := head.open().Kill(); err != nil {
		t.Fatal(err)
	}
	head.expectGone()
	if got, err := marked(family.mark); err != nil || len(got) != 0 {
		t.Errorf("in the job of a dead head are %v (%v)", got, err)
	}
	if !alive(t, neighbour.Identity()) {
		t.Error("a neighbour was killed")
	}
}

// What Start starts outlives the job of the caller, if that lets it go. Fails without CREATE_BREAKAWAY_FROM_JOB.
func TestAChildLeavesTheJobOfItsParent(t *testing.T) {
	parent := perform(t, "in a job", "open")
	child := without(parent.expect(2), parent.Identity())[0]
	if err := parent.open().Kill(); err != nil {
		t.Fatal(err)
	}
	<-parent.Done()
	if !alive(t, child) {
		t.Error("the child ended with its parent's job")
	}
}

func TestAChildThatMustStayInTheJobOfItsParent(t *testing.T) {
	parent := perform(t, "in a job", "shut")
	parent.expect(2)
	if err := parent.open().Kill(); err != nil {
		t.Fatal(err)
	}
	parent.expectGone()
}

// Wine delivers no CTRL_BREAK to another group, so that all it can show of Interrupt is whom it is for: the leader of a group
// of its own, always, that shares our console if that has no window which could be closed, and has a new one otherwise.
func TestEveryChildLeadsAGroupOnAConsoleWithoutAWindow(t *testing.T) {
	const ours, fresh = windows.CREATE_NEW_PROCESS_GROUP, windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW
	for name, c := range map[string]struct {
		window, attached uintptr
		want             uint32
	}{
		"no console":             {0, 0, fresh},
		"a console in a window":  {4711, 2, fresh},
		"a console for us alone": {0, 1, ours},
		"a console for several":  {0, 5, ours},
	} {
		if got := creationFlags(c.window, c.attached); got != c.want {
			t.Errorf("%s: flags %#x, want %#x", name, got, c.want)
		}
	}
}
