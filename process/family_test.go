package process

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFamily(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	head := perform(t, "head", ledger, "child", "group", "session", "orphan")
	want := head.expect(5)
	family, err := ReadFamily(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if family.Head != head.Identity() {
		t.Errorf("the head is %v, want %v", family.Head, head.Identity())
	}
	got, err := family.Members()
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != family.Head || !same(got, want) {
		t.Errorf("members are %v, want %v", got, want)
	}
	if err := family.Kill(deadline(t)); err != nil {
		t.Fatal(err)
	}
	head.expectGone()
	if got, err := family.Members(); err != nil || len(got) != 0 {
		t.Errorf("members of a family that is gone: %v, %v", got, err)
	}
}

func TestContainRefusesWhileAnEarlierFamilyLives(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	head := perform(t, "head", ledger, "session")
	members := head.expect(2)
	var leftover *LeftoverError
	if _, err := Contain(ledger); !errors.As(err, &leftover) || !same(leftover.Members, members) {
		t.Errorf("Contain beside a living family: %v, want %v", err, members)
	}
}

// What the head started before Contain must not die with the family, though it may have the same start time as a member.
func TestTheFamilyBeginsWithContain(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	before := perform(t, "early head", ledger, "session")
	head := before.Identity()
	children := without(before.expect(3), head)
	early, member := before.early, without(children, before.early)[0]
	family, err := ReadFamily(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := family.Members(); err != nil || !same(got, []Identity{head, member}) {
		t.Errorf("members are %v (%v), want %v and %v", got, err, head, member)
	}
	if err := family.Kill(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if !alive(t, early) {
		t.Error("a child from before Contain was killed")
	}
	if alive(t, member) {
		t.Errorf("member %v is left", member)
	}
}

// waitUntil waits for what another process does.
func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patient); !holds(); {
		if time.Now().After(limit) {
			t.Fatalf("it never happened: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func TestTrackKeepsTheLedger(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	head := perform(t, "head", ledger, "child", "nest", "orphan")
	want := without(head.expect(5), head.Identity())
	waitUntilKnown(t, ledger, want)
	info, err := os.Stat(ledger)
	if err != nil {
		t.Fatal(err)
	}
	expectPrivate(t, info)
}

func waitUntilKnown(t *testing.T, ledger string, want []Identity) *Family {
	t.Helper()
	var family *Family
	waitUntil(t, "all descendants are in the ledger", func() bool {
		var err error
		family, err = ReadFamily(ledger)
		if err != nil {
			t.Fatal(err)
		}
		return containsAll(family.Known, want)
	})
	return family
}

func containsAll(all, some []Identity) bool {
	in := map[Identity]bool{}
	for _, id := range all {
		in[id] = true
	}
	for _, id := range some {
		if !in[id] {
			return false
		}
	}
	return true
}
