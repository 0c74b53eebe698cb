package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// TestInhabitedDirectory has a process live in a directory that rdd did not make: the instance is made when that has ended,
// and not before.
func TestInhabitedDirectory(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	unchanged := h.plant("one")
	child, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Dir: h.dir("one").Path()})
	h.must(err)
	t.Cleanup(func() { h.must(process.KillTree(context.Background(), child.Identity())) })

	for count := 1; count <= 2; count++ {
		h.must(h.driver.Create("one", spec()))
		got := h.until("one", "a failure", func(got vm.Observed) bool { return got.Failure != nil && got.Failure.Count == count })
		who := fmt.Sprintf("PID %d (sleep) has its working directory there", child.Identity().PID)
		if got.State != vm.Foreign || got.Failure.During != vm.OpCreate || !strings.Contains(got.Failure.Message, who) {
			t.Fatalf("%s, %+v", got.State, got.Failure)
		}
		unchanged(false)
	}
	if err := h.driver.Delete("one"); err == nil {
		t.Error("it would be deleted")
	}
	select {
	case <-child.Done():
		t.Fatal("the inhabitant is dead")
	default:
	}

	h.kill(child.Identity())
	h.until("one", "room", func(got vm.Observed) bool { return got.State == vm.Foreign && got.Failure == nil })
	h.run("one")
	unchanged(true)
	if n := h.noticed("one", "LeftoverMoved"); n != 1 {
		t.Errorf("told %d times", n)
	}
	h.remove("one")
	unchanged(true)
}

// TestVanishedDirectory takes the directory of a stopped VM away, or puts another one in its place, before what a user may ask
// for. It is told, and the VM can be made anew.
func TestVanishedDirectory(t *testing.T) {
	t.Parallel()
	other := spec()
	other.TemplateVersion = "2"
	for name, test := range map[string]struct {
		replaced bool
		ask      func(h *host) error
		want     vm.State
	}{
		"start":            {false, func(h *host) error { return h.driver.Start("one") }, vm.Absent},
		"apply":            {false, func(h *host) error { return h.driver.Apply("one", other) }, vm.Absent},
		"start, replaced":  {true, func(h *host) error { return h.driver.Start("one") }, vm.Foreign},
		"apply, replaced":  {true, func(h *host) error { return h.driver.Apply("one", other) }, vm.Foreign},
		"daemon":           {false, func(h *host) error { h.reopen(); return nil }, vm.Absent},
		"daemon, replaced": {true, func(h *host) error { h.reopen(); return nil }, vm.Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.create("one")
			h.must(os.RemoveAll(h.dir("one").Path()))
			unchanged := func(bool) {}
			if test.replaced {
				unchanged = h.plant("one")
			}
			h.must(test.ask(h))
			got := h.until("one", "lost", func(got vm.Observed) bool { return got.State == test.want })
			if got.Failure == nil || got.Failure.During != vm.OpCreate || h.noticed("one", "InstanceLost") != 1 {
				t.Errorf("failure %+v, told %d times", got.Failure, h.noticed("one", "InstanceLost"))
			}
			unchanged(false)
			h.run("one")
			unchanged(true)
			h.remove("one")
			unchanged(true)
		})
	}
}

// TestRecordIsPutBack has somebody take the record of a VM away and put it back while a daemon finds the VM without it. What runs is
// taken over by the next creation, and not started anew.
func TestRecordIsPutBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	before := h.run("one")
	record, kept := filepath.Join(h.dir("one").RecordDir(), "record.json"), filepath.Join(h.home, "kept.json")
	h.must(h.driver.Close())
	h.must(os.Rename(record, kept))
	h.open()
	h.reach("one", vm.Foreign)
	h.must(os.Rename(kept, record))
	h.must(h.driver.Create("one", spec()))
	got := h.until("one", "taken up", func(got vm.Observed) bool { return got.State == vm.Stopped || got.State == vm.Running })
	if got.State != vm.Running || got.Failure != nil || got.Host.Agent != before.Host.Agent {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	h.must(h.driver.Stop("one", patience))
	h.reach("one", vm.Stopped)
	if boots := h.boots("one"); len(boots) != 1 || !boots[0] {
		t.Errorf("boots %v", boots)
	}
	h.must(h.driver.Delete("one"))
	h.reach("one", vm.Absent)
}

// TestRecordIsPutBackOverAnother is the same where another directory has come to the place of the VM's: that is no reason to end it.
func TestRecordIsPutBackOverAnother(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	before := h.run("one")
	record, kept := filepath.Join(h.dir("one").RecordDir(), "record.json"), filepath.Join(h.home, "kept.json")
	h.must(h.driver.Close())
	h.must(errors.Join(os.Rename(record, kept), os.Rename(h.dir("one").Path(), filepath.Join(h.home, "moved"))))
	unchanged := h.plant("one")
	h.open()
	h.reach("one", vm.Foreign)
	h.must(os.Rename(kept, record))
	h.must(h.driver.Create("one", spec()))
	got := h.until("one", "taken up", func(got vm.Observed) bool { return got.State == vm.Running || got.Failure != nil })
	if got.State != vm.Running || got.Host.Agent != before.Host.Agent {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	unchanged(false)
	h.must(os.RemoveAll(h.dir("one").Path()))
	h.must(os.Rename(filepath.Join(h.home, "moved"), h.dir("one").Path()))
	h.remove("one")
}

// TestDeletionSparesWhatIsNotOurs has somebody put a directory in the place of one that is deleted: before that begins, and
// after a deletion that died half-way.
func TestDeletionSparesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		h := newHost(t)
		h.create("one")
		h.must(os.RemoveAll(h.dir("one").Path()))
		unchanged := h.plant("one")
		h.must(h.driver.Delete("one"))
		h.reach("one", vm.Absent)
		unchanged(false)
	})
	for _, step := range []standin.Step{standin.DeleteHalfDone, standin.DeleteEnds} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.create("one")
			h.misbehave("one", standin.Faults{At: map[standin.Step]standin.Action{step: standin.Die}})
			h.must(h.driver.Delete("one"))
			h.until("one", "a failure", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
			if _, err := os.Lstat(h.dir("one").Path()); !os.IsNotExist(err) {
				t.Fatalf("a deletion that died has left something in its place: %v", err)
			}
			unchanged := h.plant("one")
			h.misbehave("one", standin.Faults{})
			h.reopen()
			h.reach("one", vm.Absent)
			unchanged(false)
			if left, err := filepath.Glob(filepath.Join(h.dir("one").RecordDir(), "*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			h.create("one")
			unchanged(true)
		})
	}
}
