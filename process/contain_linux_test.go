package process

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Kept alive by nothing but the mark: the head is dead, the ledger has no entry, and the environment is empty.
func TestTheMarkIsEnough(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	neighbour := perform(t, "deaf")
	neighbour.expect(1)
	head := perform(t, "head", ledger, "child", "group", "session", "orphan", "nest")
	want := without(head.expect(7), head.Identity())
	if err := head.open().Kill(); err != nil {
		t.Fatal(err)
	}
	<-head.Done()
	family, err := ReadFamily(ledger)
	if err != nil {
		t.Fatal(err)
	}
	family.Known = nil
	if got, err := family.Members(); err != nil || !same(got, want) {
		t.Errorf("members are %v (%v), want %v", got, err, want)
	}
	if err := family.Kill(deadline(t)); err != nil {
		t.Fatal(err)
	}
	head.expectGone()
	if !alive(t, neighbour.Identity()) {
		t.Error("a neighbour was killed")
	}
}

// A ledger of a newer build tells the head and the mark at least, by which the others are found when the head is dead.
func TestALedgerOfAnotherVersionIsEnough(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	head := perform(t, "head", ledger, "session", "orphan")
	head.expect(3)
	if err := head.open().Kill(); err != nil {
		t.Fatal(err)
	}
	<-head.Done()
	content, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ledger, bytes.Replace(content, []byte(`"version":1`), []byte(`"version":2`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	family, err := ReadFamily(ledger)
	if !errors.Is(err, ErrDamaged) || family == nil || family.Head != head.Identity() {
		t.Fatalf("read as %+v (%v)", family, err)
	}
	if err := family.Kill(deadline(t)); err != nil {
		t.Fatal(err)
	}
	head.expectGone()
}

// Where there is no mark, the ledger is enough for those that it holds.
func TestTheLedgerIsEnough(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	head := perform(t, "head", ledger, "child", "group", "session", "orphan")
	want := without(head.expect(5), head.Identity())
	family := waitUntilKnown(t, ledger, want)
	if err := head.open().Kill(); err != nil {
		t.Fatal(err)
	}
	<-head.Done()
	family.mark = ""
	if got, err := family.Members(); err != nil || !same(got, want) {
		t.Errorf("members are %v (%v), want %v", got, err, want)
	}
	if err := family.Kill(deadline(t)); err != nil {
		t.Fatal(err)
	}
	head.expectGone()
}

// Each walker is a process that lives for some milliseconds and starts its successor in a session of its own: there is never
// a living parent to come from. The head is killed before the family in every second round, at a random moment.
func TestAFamilyThatRunsAway(t *testing.T) {
	for round := range 6 {
		ledger := filepath.Join(t.TempDir(), "ledger")
		head := perform(t, "head", ledger, "walker", "walker", "walker")
		head.expect(1)
		<-time.After(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
		if round%2 == 0 {
			if err := head.open().Kill(); err != nil {
				t.Fatal(err)
			}
			<-head.Done()
		}
		family, err := ReadFamily(ledger)
		if err != nil {
			t.Fatal(err)
		}
		if err := family.Kill(deadline(t)); err != nil {
			t.Fatal(err)
		}
		head.expectGone()
	}
}

func TestTheHeadReapsItsOrphans(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	head := perform(t, "head", ledger, "nest", "orphan")
	all := without(head.expect(4), head.Identity())
	waitUntilKnown(t, ledger, all)
	for _, id := range all {
		h := open(t, id)
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, "no zombie is left", func() bool {
		pids, err := childPIDs(head.Identity().PID)
		if err != nil {
			t.Fatal(err)
		}
		return len(pids) == 0
	})
}

func TestTheHeadKeepsItsOwnChildren(t *testing.T) {
	head := perform(t, "stranger in the house", filepath.Join(t.TempDir(), "ledger"))
	<-head.Done()
	if head.ExitCode() != 0 {
		t.Error(head.ExitStatus())
	}
}

// The state Z of /proc is that of the first thread only.
func TestAProcessWithoutItsFirstThreadIsAlive(t *testing.T) {
	child := perform(t, decapitated)
	child.expect(1)
	id := child.Identity()
	waitUntil(t, "the first thread has ended", func() bool {
		s, err := readStat(id.PID)
		if err != nil {
			t.Fatal(err)
		}
		return s.state == 'Z'
	})
	h := child.open()
	if !h.Alive() || !alive(t, id) {
		t.Error("a process with living threads is said to be dead")
	}
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if found, err := Descendants(self); err != nil || !containsAll(found, []Identity{id}) {
		t.Errorf("it is not among the descendants %v (%v)", found, err)
	}
	if err := KillTree(deadline(t), id); err != nil {
		t.Error(err)
	}
	child.expectGone()
}

// The PID of a thread is worn by no process.
func TestAThreadIsNoProcess(t *testing.T) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		tid := atoi(t, thread.Name())
		if id, err := Find(tid); tid != os.Getpid() && !errors.Is(err, ErrGone) {
			t.Errorf("thread %d is said to be process %v (%v)", tid, id, err)
		}
	}
}

func TestNamesCannotLie(t *testing.T) {
	for _, name := range []string{"a b", ") R 1 2 (", "a\nb"} {
		child := perform(t, "renamed", name)
		child.expect(1)
		info, err := Describe(child.Identity().PID)
		if err != nil || info.Name != name || info.Identity != child.Identity() {
			t.Errorf("the process called %q is described as %q, %v (%v), want %v", name, info.Name, info, err, child.Identity())
		}
	}
}

func TestStartLeavesTheSessionAndTheTerminal(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	s, err := readStat(child.Identity().PID)
	if err != nil || s.session != s.pid {
		t.Errorf("the child is in session %d (%v), want its own, %d", s.session, err, s.pid)
	}
}

func TestTheTableListerFindsTheSame(t *testing.T) {
	parent := perform(t, "parent", "child", "group", "session")
	want := without(parent.expect(4), parent.Identity())
	list, err := tableLister(parent.Identity().BootID)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := list.verified(parent.Identity()); err != nil || !same(got, want) {
		t.Errorf("children are %v (%v), want %v", got, err, want)
	}
}
