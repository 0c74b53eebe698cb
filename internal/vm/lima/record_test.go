package lima

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// found is what a new driver makes of what lies on disk.
func found(t *testing.T, home string) (*Driver, vm.Observed) {
	t.Helper()
	changed := make(chan struct{}, 1)
	d := makeDriver(t, home, changed)
	return d, await(t, d, changed, func(got vm.Observed) bool { return got.State != vm.Unknown })
}

func makeDriver(t *testing.T, home string, changed chan struct{}) *Driver {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{
		Home: home, Executable: executable, Env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Notify: func(string) {
			select {
			case changed <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func await(t *testing.T, d *Driver, changed <-chan struct{}, ok func(vm.Observed) bool) vm.Observed {
	t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		got := d.Observe("one")
		if ok(got) {
			return got
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("it is %s for ever, failure %+v", got.State, got.Failure)
		}
	}
}

// TestEveryStepIsTakenUp has a daemon die after each durable step.
func TestEveryStepIsTakenUp(t *testing.T) {
	ours, theirs := []byte("images: []\n"), []byte("images: [] # theirs\n")
	for _, test := range []struct {
		name     string
		rec      *record
		template []byte // nil: no directory; empty: one without a template
		want     vm.State
		stays    bool // the directory
		lost     bool // told as a failure
	}{
		{"nothing", nil, nil, vm.Absent, false, false},
		{"a directory of somebody else's", nil, theirs, vm.Foreign, true, false},
		{"creation intended", &record{Step: stepCreating}, nil, vm.Absent, false, false},
		{"creation begun", &record{Step: stepCreating}, []byte{}, vm.Absent, false, false},
		{"creation under way", &record{Step: stepCreating, TemplateSum: sumOf(ours)}, ours, vm.Absent, false, false},
		{"somebody was faster", &record{Step: stepCreating, TemplateSum: sumOf(ours)}, theirs, vm.Absent, true, false},
		{"created", &record{Step: stepCreated}, ours, vm.Stopped, true, false},
		{"created, then taken away", &record{Step: stepCreated}, nil, vm.Absent, false, true},
		{"created, then replaced", &record{Step: stepCreated, TemplateSum: sumOf(ours)}, theirs, vm.Foreign, true, true},
		{"created, then put back without its mark", &record{Step: stepCreated, TemplateSum: sumOf(ours)}, ours, vm.Stopped, true, false},
		{"deleted, then replaced", &record{Step: stepDeleting, TemplateSum: sumOf(ours)}, theirs, vm.Absent, true, false},
		{"deletion intended", &record{Step: stepDeleting}, ours, vm.Absent, false, false},
		{"deletion under way", &record{Step: stepDeleting}, []byte{}, vm.Absent, false, false},
		{"deletion done", &record{Step: stepDeleting}, nil, vm.Absent, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := instancedir.Dir{Home: t.TempDir(), Name: "one"}
			if test.rec != nil {
				test.rec.Owner, test.rec.TemplateVersion, test.rec.Instance = "me", "1", &vm.Instance{VMType: "qemu"}
				if err := test.rec.write(dir); err != nil {
					t.Fatal(err)
				}
			}
			if test.template != nil {
				if err := os.Mkdir(dir.Path(), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if len(test.template) > 0 {
				if err := os.WriteFile(dir.Template(), test.template, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, got := found(t, dir.Home)
			if got.State != test.want || (got.Failure != nil) != test.lost {
				t.Errorf("it is %s, failure %+v", got.State, got.Failure)
			}
			if there, err := dir.Exists(); err != nil || there != test.stays {
				t.Errorf("the directory is there: %v, %v", there, err)
			}
			if test.want == vm.Absent || test.lost {
				if rec, err := readRecord(dir); rec != nil || err != nil {
					t.Errorf("the record is still there: %+v, %v", rec, err)
				}
			}
		})
	}
}

func TestUnreadableRecordsAreLeftAlone(t *testing.T) {
	for name, text := range map[string]string{
		"garbage": "{", "another version": `{"version": 99, "step": "created"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := instancedir.Dir{Home: t.TempDir(), Name: "one"}
			if err := os.MkdirAll(dir.RecordDir(), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(recordFile(dir), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			d, got := found(t, dir.Home)
			if got.State != vm.Foreign || got.Failure == nil || !strings.Contains(got.Failure.Message, "put back a copy") {
				t.Errorf("it is %s, failure %+v", got.State, got.Failure)
			}
			if err := d.Delete("one"); err == nil {
				t.Error("it would be deleted")
			}
			if err := d.Create("one", vm.Spec{Owner: "me", TemplateVersion: "1", Template: []byte("x")}); err != nil {
				t.Error(err)
			}
			if err := d.Drain(t.Context(), nil); err == nil || !strings.Contains(err.Error(), recordFile(dir)) {
				t.Errorf("drain: %v", err)
			}
			if left, err := os.ReadFile(recordFile(dir)); err != nil || string(left) != text {
				t.Errorf("the record is now %q, %v", left, err)
			}
		})
	}
}

// TestDiskErrorsAreWaitedOut has the disk refuse to tell for a while. As long as it does, the VM may well be running.
func TestDiskErrorsAreWaitedOut(t *testing.T) {
	dir := instancedir.Dir{Home: t.TempDir(), Name: "one"}
	if err := os.MkdirAll(recordFile(dir), 0o700); err != nil { // which nobody can read
		t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	d := makeDriver(t, dir.Home, changed)
	got := await(t, d, changed, func(got vm.Observed) bool { return got.Failure != nil && got.Failure.Count == 2 })
	if got.State != vm.Unknown || !strings.Contains(got.Failure.Message, "cannot read the record") {
		t.Errorf("it is %s, failure %+v", got.State, got.Failure)
	}
	if err := os.Remove(recordFile(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir.Path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (record{Step: stepCreated, Owner: "me"}).write(dir); err != nil {
		t.Fatal(err)
	}
	if got := await(t, d, changed, func(got vm.Observed) bool { return got.State != vm.Unknown }); got.State != vm.Stopped || got.Failure != nil {
		t.Errorf("it is %s, failure %+v", got.State, got.Failure)
	}
}

// TestLeftoversOfAnotherCreation has the record of a creation come back whose worker lives, and whose leftovers cannot be removed at
// first: the worker is ended all the same.
func TestLeftoversOfAnotherCreation(t *testing.T) {
	dir := instancedir.Dir{Home: t.TempDir(), Name: "one"}
	changed := make(chan struct{}, 1)
	d := makeDriver(t, dir.Home, changed)
	await(t, d, changed, func(got vm.Observed) bool { return got.State == vm.Absent })

	worker, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.KillTree(context.Background(), worker.Identity()); err != nil {
			t.Error(err)
		}
	})
	template := []byte("images: []\n")
	left := record{Step: stepCreating, Owner: "somebody", TemplateSum: sumOf(template), Child: worker.Identity()}
	if err := left.write(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir.Path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.Template(), template, 0o600); err != nil {
		t.Fatal(err)
	}
	log := dir.WorkerLog() // a worker cannot be started without one
	if err := os.Mkdir(log, 0o700); err != nil {
		t.Fatal(err)
	}
	create := func() {
		t.Helper()
		if err := d.Create("one", vm.Spec{Owner: "me", TemplateVersion: "1", Template: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if got := d.Observe("one"); got.State == vm.Creating && got.Owner != "me" {
			t.Errorf("it is %q's", got.Owner)
		}
	}
	create()
	await(t, d, changed, func(got vm.Observed) bool { return got.Failure != nil })
	if _, err := process.Open(worker.Identity()); !errors.Is(err, process.ErrGone) { // it may not be reaped yet
		t.Errorf("the worker lives: %v", err)
	}
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	create()
	await(t, d, changed, func(got vm.Observed) bool { return got.Failure != nil && got.Failure.Count == 2 })
	if there, err := dir.Exists(); there || err != nil {
		t.Errorf("the leftovers are there: %t, %v", there, err)
	}
}

// TestDrainOvertakesARequest has a request come to a supervisor after the driver was asked to drain, which it was not when the request
// was let in.
func TestDrainOvertakesARequest(t *testing.T) {
	for state, ask := range map[vm.State]func(s *supervisor) error{
		vm.Absent: func(s *supervisor) error {
			return s.create(vm.Spec{Owner: "me", TemplateVersion: "1", Template: []byte("x")})
		},
		vm.Stopped: (*supervisor).start,
	} {
		dir := instancedir.Dir{Home: t.TempDir(), Name: "one"}
		if state == vm.Stopped {
			if err := os.Mkdir(dir.Path(), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := (record{Step: stepCreated, Owner: "me"}).write(dir); err != nil {
				t.Fatal(err)
			}
		}
		d, got := found(t, dir.Home)
		if got.State != state {
			t.Fatalf("it is %s", got.State)
		}
		if err := d.Drain(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := ask(d.supervisor("one")); !errors.Is(err, errDraining) {
			t.Errorf("%s: %v", state, err)
		}
		if got := d.Observe("one"); got.State != state {
			t.Errorf("it is %s", got.State)
		}
	}
}

func TestRecordIsPrivate(t *testing.T) {
	dir := instancedir.Dir{Home: t.TempDir(), Name: "one"}
	if err := (record{Step: stepCreated, Owner: "me"}).write(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{recordFile(dir): 0o600, dir.RecordDir(): 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v", filepath.Base(path), info.Mode(), err)
		}
	}
}

func TestNamesAreChecked(t *testing.T) {
	d, _ := found(t, t.TempDir())
	for _, name := range []string{"", ".", "..", "../one", "_rdd", "a/b", "a b", "-x", "x-"} {
		if got := d.Observe(name); got.State != vm.Absent {
			t.Errorf("%q is %s", name, got.State)
		}
		if err := d.Create(name, vm.Spec{Owner: "me", TemplateVersion: "1", Template: []byte("x")}); err == nil {
			t.Errorf("%q was created", name)
		}
	}
}

func TestNewRefusesBadConfigurations(t *testing.T) {
	log, notify := slog.New(slog.DiscardHandler), func(string) {}
	for name, cfg := range map[string]Config{
		"a relative home":  {Home: "home", Executable: "/x", Log: log, Notify: notify},
		"no executable":    {Home: t.TempDir(), Log: log, Notify: notify},
		"no log":           {Home: t.TempDir(), Executable: "/x", Notify: notify},
		"nobody to notify": {Home: t.TempDir(), Executable: "/x", Log: log},
		"an impossible home": {
			Home: filepath.Join(os.DevNull, "home"), Executable: "/x", Log: log, Notify: notify,
		},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
