package process

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestDescendants(t *testing.T) {
	parent := perform(t, "parent", "child", "group", "session")
	want := without(parent.expect(4), parent.Identity())
	got, err := Descendants(parent.Identity())
	if err != nil {
		t.Fatal(err)
	}
	if !same(got, want) {
		t.Errorf("descendants are %v, want %v", got, want)
	}
	gone := parent.Identity()
	gone.StartTime--
	if _, err := Descendants(gone); !errors.Is(err, ErrGone) {
		t.Errorf("descendants of a stranger: %v", err)
	}
}

// The parent leads the session, but not the group of each of its children.
func TestKillTree(t *testing.T) {
	parent := perform(t, "parent", "child", "group", "session")
	parent.expect(4)
	if err := KillTree(deadline(t), parent.Identity()); err != nil {
		t.Fatal(err)
	}
	parent.expectGone()
}

func TestKillTreeOfARootThatIsGone(t *testing.T) {
	parent := perform(t, "parent", "group", "session", "orphan")
	known := without(parent.expect(4), parent.Identity())
	if err := parent.open().Kill(); err != nil {
		t.Fatal(err)
	}
	<-parent.Done()
	if err := KillTree(deadline(t), parent.Identity(), known...); err != nil {
		t.Fatal(err)
	}
	parent.expectGone()
}

func TestKillTreeOfOneThatLeadsNoGroup(t *testing.T) {
	grand := perform(t, "parent", "child", "nest")
	all := grand.expect(4)
	leader := slices.IndexFunc(all, func(id Identity) bool {
		below, err := Descendants(id)
		return err == nil && id != grand.Identity() && len(visible(below)) == 1
	})
	below, err := Descendants(all[leader])
	if err != nil {
		t.Fatal(err)
	}
	if err := KillTree(deadline(t), all[leader]); err != nil {
		t.Fatal(err)
	}
	for _, gone := range append(below, all[leader]) {
		if alive(t, gone) {
			t.Errorf("process %v is left", gone)
		}
	}
	if !alive(t, grand.Identity()) {
		t.Error("the parent of the root was killed")
	}
}

// A child is born after the look at all processes, and before its parent is halted. Fails if that one look is believed. What
// Linux tells of a parent's children is younger than that, so that the test makes it as old as elsewhere.
func TestKillTreeOfOneThatHasAChildBetweenLookAndAct(t *testing.T) {
	parent := perform(t, "obedient")
	parent.expect(1)
	self, err := Self() // the root is spared, and so halts nobody before the first look
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHunt(self)
	if err != nil {
		t.Fatal(err)
	}
	h.seeds = func() ([]Identity, error) { return nil, nil }
	var born Identity
	h.newLister = func() (lister, error) {
		list, err := newLister()
		if err != nil || !born.IsZero() {
			return list, err
		}
		before, err := list(parent.Identity())
		if err != nil || len(visible(slices.Clone(before))) > 0 {
			t.Fatalf("the parent has children already: %v, %v", before, err)
		}
		if _, err := parent.orders.WriteString("a child\n"); err != nil {
			t.Fatal(err)
		}
		born = parent.expect(1)[0]
		return func(id Identity) ([]Identity, error) {
			if id == parent.Identity() {
				return before, nil
			}
			return list(id)
		}, nil
	}
	if err := h.run(deadline(t)); err != nil {
		t.Fatal(err)
	}
	parent.expectGone()
	if alive(t, born) {
		t.Errorf("process %v is left", born)
	}
}

// A child that is listed has ended when it is to be caught; what it has started meanwhile is not on the list. Fails if only
// those that were caught count as news.
func TestKillTreeLooksAgainWhenOneHasGone(t *testing.T) {
	gone := perform(t, "obedient")
	gone.expect(1)
	if err := gone.open().Kill(); err != nil {
		t.Fatal(err)
	}
	<-gone.Done()
	orphan := perform(t, "obedient")
	orphan.expect(1)
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHunt(self)
	if err != nil {
		t.Fatal(err)
	}
	h.seeds = func() ([]Identity, error) { return nil, nil }
	sights := [][]Identity{nil, {gone.Identity()}, {orphan.Identity()}, nil} // the first look catches the root, and so is news
	h.newLister = func() (lister, error) {
		seen := sights[0]
		if len(sights) > 1 {
			sights = sights[1:]
		}
		return func(id Identity) ([]Identity, error) {
			if id == self {
				return seen, nil
			}
			return nil, nil
		}, nil
	}
	if err := h.run(deadline(t)); err != nil {
		t.Fatal(err)
	}
	orphan.expectGone()
}

// A look that fails once is made again before anybody is killed, and the failure is not told. Fails if it is kept, or if the parent
// is killed before its children were listed: then they have no parent to be found by.
func TestKillTreeLooksAgainWhenALookFails(t *testing.T) {
	parent := perform(t, "parent", "child", "session")
	parent.expect(3)
	self, err := Self() // the root has to be spared, or it would go last, after another look
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHunt(self)
	if err != nil {
		t.Fatal(err)
	}
	h.seeds = func() ([]Identity, error) { return []Identity{parent.Identity()}, nil }
	failures := 2
	h.newLister = func() (lister, error) {
		if failures > 0 {
			failures--
			return nil, errors.New("no descriptors")
		}
		return newLister()
	}
	if err := h.run(deadline(t)); err != nil {
		t.Error(err)
	}
	parent.expectGone()
}

// A look that keeps failing is told, and does not keep those from being killed that were found.
func TestKillTreeTellsOfALookThatKeepsFailing(t *testing.T) {
	parent := perform(t, "parent")
	parent.expect(1)
	h, err := newHunt(parent.Identity())
	if err != nil {
		t.Fatal(err)
	}
	h.seeds = func() ([]Identity, error) { return nil, nil }
	blind := errors.New("no descriptors")
	h.newLister = func() (lister, error) { return nil, blind }
	if err := h.run(deadline(t)); !errors.Is(err, blind) {
		t.Errorf("a hunt that saw nothing: %v", err)
	}
	parent.expectGone()
}

func TestKillTreeKillsEvenIfNobodyWaits(t *testing.T) {
	parent := perform(t, "parent", "child", "session")
	parent.expect(3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := KillTree(ctx, parent.Identity()); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	parent.expectGone()
}

// What the lister says of a parent counts only if that parent is still itself afterwards. Without the second look, the
// children of a stranger would be returned, and killed.
func TestChildrenOfAStrangerAreNotReturned(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	list := lister(func(Identity) ([]Identity, error) { return []Identity{child.Identity()}, nil })
	if got, err := list.verified(self); err != nil || len(got) != 1 {
		t.Fatalf("children of the living: %v, %v", got, err)
	}
	earlier := self
	earlier.StartTime--
	if got, err := list.verified(earlier); !errors.Is(err, ErrGone) || len(got) != 0 {
		t.Errorf("children of one who is gone: %v, %v", got, err)
	}
}

func without(ids []Identity, one Identity) []Identity {
	return slices.DeleteFunc(ids, func(id Identity) bool { return id == one })
}

// same compares what was found with what the test has started.
func same(found, started []Identity) bool {
	a, b := visible(found), started
	byPID := func(a, b Identity) int { return a.PID - b.PID }
	slices.SortFunc(a, byPID)
	slices.SortFunc(b, byPID)
	return slices.Equal(a, b)
}
