//go:build linux || darwin

package process

import (
	"path/filepath"
	"testing"
)

// These end processes that are just starting others, which Wine cannot bear (see main_windows_test.go).

// The root is no container: a child that is born between the look at its children and its end would be lost.
func TestKillTreeOfOneThatBreeds(t *testing.T) {
	for range 5 {
		breeder := perform(t, "breeder")
		breeder.expect(2)
		if err := KillTree(deadline(t), breeder.Identity()); err != nil {
			t.Fatal(err)
		}
		breeder.expectGone()
	}
}

// Without the mark, those that the head has not recorded are left.
func TestFamilyWhoseHeadWasKilled(t *testing.T) {
	for range 10 {
		ledger := filepath.Join(t.TempDir(), "ledger")
		head := perform(t, "head", ledger, "child", "group", "session", "orphan")
		head.expect(3) // somewhere in between
		if err := head.open().Kill(); err != nil {
			t.Fatal(err)
		}
		<-head.Done()
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
