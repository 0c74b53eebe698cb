//go:build !darwin || cgo

package lima_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
	"github.com/seed-192657fa/rdd/internal/wsl/wsltest"
)

const distribution = "lima-one"

// wslVM has a driver take over a stopped VM of type wsl2. Lima cannot run it but on Windows, so that each start fails in the
// agent; what is tested is what the daemon does around that. claimed tells whether the record has the distribution already.
func wslVM(t *testing.T, timeout time.Duration, claimed bool) (*watched, *wsltest.Fake) {
	t.Helper()
	fake := wsltest.New(t)
	w := &watched{home: home(t), changed: make(chan struct{}, 1)}
	mine := ""
	if claimed {
		mine = distribution
	}
	plantWSL(t, w.dir(), mine)
	w.Driver = openWSL(t, w, fake, timeout)
	w.reach(t, vm.Stopped)
	return w, fake
}

// plantWSL makes what is on disk of an instance of type wsl2; mine is what its record says of a distribution.
func plantWSL(t *testing.T, dir instancedir.Dir, mine string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"version": 1, "step": "created", "owner": "me", "templateVersion": "1", "child": map[string]any{},
		"instance": vm.Instance{VMType: "wsl2", Arch: "x86_64"}, "distribution": mine,
	})
	must(t, err)
	for _, path := range []string{dir.Path(), dir.RecordDir()} {
		must(t, os.MkdirAll(path, 0o700))
	}
	must(t, os.WriteFile(filepath.Join(dir.RecordDir(), "record.json"), text, 0o600))
	must(t, os.WriteFile(dir.Template(), []byte("vmType: wsl2\nimages: [{location: /nowhere.tar}]\n"), 0o600))
}

// wslEnv is env with the scripted wsl.exe in front of everything else.
func wslEnv(env []string, fake *wsltest.Fake) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(entry string) bool { return strings.HasPrefix(entry, "PATH=") })
	return append(env, "PATH="+fake.Dir()+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

func openWSL(t *testing.T, w *watched, fake *wsltest.Fake, timeout time.Duration) *lima.Driver {
	t.Helper()
	cfg := config(t, w.home, w.notify)
	cfg.WSLTimeout, cfg.Env = timeout, wslEnv(cfg.Env, fake)
	driver, err := lima.New(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, driver.Close()) })
	return driver
}

// fails starts the VM and returns why that did not work.
func (w *watched) fails(t *testing.T) vm.Failure {
	t.Helper()
	must(t, w.Start("one"))
	got := w.until(t, "failed", func(got vm.Observed) bool { return got.State == vm.Stopped && got.Failure != nil })
	return *got.Failure
}

// TestForeignDistribution has somebody else's distribution wear the name: it is not run, ended or removed.
func TestForeignDistribution(t *testing.T) {
	w, fake := wslVM(t, time.Minute, false)
	fake.Register(distribution)
	if failure := w.fails(t); failure.During != vm.OpStart || failure.ExitStatus != "" || !strings.Contains(failure.Message, "wsl --unregister "+distribution) {
		t.Errorf("%+v", failure)
	}
	must(t, w.Release(t.Context()))
	must(t, w.Delete("one"))
	w.reach(t, vm.Absent)
	if fake.State(distribution) != "Running" {
		t.Errorf("it is %q", fake.State(distribution))
	}
	if calls := fake.Calls(); slices.ContainsFunc(calls, func(call string) bool { return call != "--list" }) {
		t.Errorf("called %q", calls)
	}
}

// TestDistributionOutlivesItsAgent ends it by name before the VM is told to be stopped, and removes it with the VM.
func TestDistributionOutlivesItsAgent(t *testing.T) {
	w, fake := wslVM(t, time.Minute, false)
	w.fails(t) // but the distribution is ours from here on
	fake.Register(distribution)
	w.fails(t)
	if fake.State(distribution) != "Stopped" {
		t.Errorf("the VM is stopped, its distribution is %q", fake.State(distribution))
	}
	fake.Register(distribution)
	must(t, w.Delete("one"))
	w.reach(t, vm.Absent)
	calls := fake.Calls()
	if want := []string{"--terminate:" + distribution, "--unregister:" + distribution}; !slices.Equal(calls[len(calls)-2:], want) {
		t.Errorf("called %q, want them to end with %q", calls, want)
	}
	if _, err := os.Stat(w.dir().Path()); fake.State(distribution) != "" || !os.IsNotExist(err) {
		t.Errorf("left behind: %q, %v", fake.State(distribution), err)
	}
}

// TestDirectoryIsGone does not forget the distribution of an instance whose directory somebody has removed.
func TestDirectoryIsGone(t *testing.T) {
	w, fake := wslVM(t, time.Minute, true)
	fake.Register(distribution)
	must(t, w.Close())
	must(t, os.RemoveAll(w.dir().Path()))
	w.Driver = openWSL(t, w, fake, time.Minute)
	w.reach(t, vm.Absent)
	if fake.State(distribution) != "" {
		t.Errorf("left behind: it is %q", fake.State(distribution))
	}
}

// TestDistributionsPlaceIsTaken has somebody put a directory, with a disk of its own in it, in the place of an instance whose
// distribution WSL deletes by the path of the disk.
func TestDistributionsPlaceIsTaken(t *testing.T) {
	for name, test := range map[string]struct {
		ask   func(t *testing.T, w *watched, fake *wsltest.Fake)
		aside bool // where the directory is in the end
	}{
		"start": {func(t *testing.T, w *watched, _ *wsltest.Fake) {
			must(t, w.Start("one"))
			w.reach(t, vm.Foreign)
		}, false},
		"a new daemon": {func(t *testing.T, w *watched, fake *wsltest.Fake) {
			must(t, w.Close())
			w.Driver = openWSL(t, w, fake, time.Minute)
			w.reach(t, vm.Foreign)
		}, false},
		"a release": {func(t *testing.T, w *watched, _ *wsltest.Fake) {
			if err := w.Release(t.Context()); err == nil {
				t.Error("it was released")
			}
		}, false},
		"creation": {func(t *testing.T, w *watched, _ *wsltest.Fake) {
			must(t, w.Start("one"))
			w.reach(t, vm.Foreign)
			must(t, w.Create("one", vm.Spec{Owner: "me", TemplateVersion: "1", Template: []byte("images: []\n")}))
			w.reach(t, vm.Absent) // the template is of no use
		}, true},
		"deletion": {func(t *testing.T, w *watched, _ *wsltest.Fake) {
			must(t, w.Delete("one"))
			w.reach(t, vm.Absent)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, fake := wslVM(t, time.Minute, true)
			must(t, os.RemoveAll(w.dir().Path()))
			unchanged := plant(t, w.home, "one")
			must(t, w.dir().Mark("somebody"))
			fake.Register(distribution)
			fake.SetDisk(distribution, filepath.Join(w.dir().Path(), "disk"))
			test.ask(t, w, fake)
			unchanged(test.aside)
			if there := fake.State(distribution) != ""; there == test.aside {
				t.Errorf("the distribution is %q", fake.State(distribution))
			}
		})
	}
}

func TestRelease(t *testing.T) {
	w, fake := wslVM(t, time.Minute, true)
	fake.Register(distribution)
	fake.Register("lima-other")
	must(t, w.Release(t.Context()))
	if fake.State(distribution) != "" || fake.State("lima-other") != "Running" {
		t.Errorf("ours is %q, the other %q", fake.State(distribution), fake.State("lima-other"))
	}
}

// TestDegradedWSL has WSL hang: each operation fails and says what to do, nothing is lost, and it works when WSL does again.
func TestDegradedWSL(t *testing.T) {
	w, fake := wslVM(t, 2*time.Second, true)
	fake.Register(distribution)
	fake.Script("--list", wsltest.Hang)
	if failure := w.fails(t); failure.During != vm.OpStart || !strings.Contains(failure.Message, "wsl --shutdown") {
		t.Errorf("start: %+v", failure)
	}
	must(t, w.Delete("one"))
	got := w.until(t, "failed to delete", func(got vm.Observed) bool {
		return got.State == vm.Stopped && got.Failure != nil && got.Failure.During == vm.OpDelete
	})
	if !strings.Contains(got.Failure.Message, "wsl --shutdown") {
		t.Errorf("delete: %+v", got.Failure)
	}
	if left := fake.Living(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(w.dir().Template()); err != nil || fake.State(distribution) != "Running" {
		t.Errorf("lost: %v, %q", err, fake.State(distribution))
	}
	fake.Script("--list", "")
	must(t, w.Delete("one"))
	w.reach(t, vm.Absent)
}

// TestDegradedWSLAfterTheAgent has WSL hang when the agent has ended: the VM is not told to be stopped, and another one is not
// held up by it.
func TestDegradedWSLAfterTheAgent(t *testing.T) {
	w, fake := wslVM(t, 2*time.Second, true)
	fake.Script("--terminate", wsltest.Hang)
	must(t, w.Start("one"))
	w.until(t, "an agent", func(got vm.Observed) bool { return got.Host != nil })
	fake.Register(distribution) // as the agent would
	got := w.until(t, "cannot stop", func(got vm.Observed) bool { return got.Failure != nil })
	if got.State != vm.Stopping || got.Failure.During != vm.OpStop || !strings.Contains(got.Failure.Message, "wsl --shutdown") {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	must(t, w.Create("two", vm.Spec{Owner: "me", TemplateVersion: "1", Template: []byte("images: []\n")}))
	for w.Observe("two").Failure == nil {
		<-w.changed
	}
	if state := w.Observe("one").State; state != vm.Stopping {
		t.Errorf("it is %s", state)
	}
	fake.Script("--terminate", "")
	w.reach(t, vm.Stopped)
	if fake.State(distribution) != "Stopped" {
		t.Errorf("it is %q", fake.State(distribution))
	}
}

// TestSuffix has the VMs of two rdd instances share a name: Lima's names, and the distributions, do not.
func TestSuffix(t *testing.T) {
	fake := wsltest.New(t)
	for _, suffix := range []string{"_rdd2", "_rdd3"} {
		w := &watched{home: home(t), changed: make(chan struct{}, 1)}
		dir := instancedir.Dir{Home: w.home, Name: "one" + suffix}
		plantWSL(t, dir, "")
		plantWSL(t, instancedir.Dir{Home: w.home, Name: "one"}, "lima-one") // whose name is not one of this instance's
		cfg := config(t, w.home, func(name string) {
			if name != "one" {
				t.Errorf("%q is announced", name)
			}
			w.notify(name)
		})
		cfg.Suffix, cfg.Env = suffix, wslEnv(cfg.Env, fake)
		var err error
		w.Driver, err = lima.New(cfg)
		must(t, err)
		t.Cleanup(func() { must(t, w.Close()) })
		w.reach(t, vm.Stopped)
		w.fails(t)
		fake.Register("lima-" + dir.Name)
		must(t, w.Delete("one"))
		w.reach(t, vm.Absent)
	}
	want := []string{"--terminate:lima-one_rdd2", "--unregister:lima-one_rdd2", "--terminate:lima-one_rdd3", "--unregister:lima-one_rdd3"}
	if got := slices.DeleteFunc(fake.Calls(), func(call string) bool { return call == "--list" }); !slices.Equal(got, want) {
		t.Errorf("called %q, want %q", got, want)
	}
}
