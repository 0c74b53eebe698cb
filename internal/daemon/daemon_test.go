package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

func newInstance(t testing.TB) instance.Instance {
	t.Helper()
	inst, err := instance.New("test", instance.Env{Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return inst
}

func TestOnlyOneHoldsTheLock(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(inst)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(inst); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), "already served") {
		t.Errorf("a second lock: %v, want ErrRunning", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = lock(inst)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	_ = unlock()
}

func TestFindTrustsNoRecordButThatOfALivingProcess(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	recycled := self
	recycled.StartTime++ // our PID, worn by somebody else before
	for name, c := range map[string]struct {
		record *Record
		want   bool
	}{
		"alive":         {&Record{Identity: self, Version: "v1"}, true},
		"PID recycled":  {&Record{Identity: recycled}, false},
		"zero":          {&Record{}, false},
		"long ago":      {&Record{Identity: process.Identity{PID: 1 << 22, StartTime: 1, BootID: "x"}}, false},
		"none was ever": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(inst.RecordFile())
			if c.record != nil {
				if err := writeRecord(inst, c.record); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Find(inst)
			if err != nil {
				t.Fatal(err)
			}
			if (got != nil) != c.want {
				t.Errorf("Find = %+v, want one: %t", got, c.want)
			}
		})
	}
	for _, garbage := range []string{"", "{", "4711", "null", `{"pid":"x"}`} {
		if err := os.WriteFile(inst.RecordFile(), []byte(garbage), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Find(inst); got != nil || err != nil {
			t.Errorf("Find with %q in the record = %+v, %v", garbage, got, err)
		}
	}
}

func TestPIDFileIsForScripts(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	if err := writeRecord(inst, &Record{Identity: process.Identity{PID: 4711, StartTime: 1}}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(inst.PIDFile())
	if err != nil || string(content) != "4711\n" {
		t.Errorf("PID file: %q, %v", content, err)
	}
}

func TestStopWithoutADaemon(t *testing.T) {
	inst := newInstance(t)
	if was, err := Stop(t.Context(), inst, Stopping{Timeout: time.Second}); was || err != nil {
		t.Errorf("Stop = %t, %v", was, err)
	}
}

func TestStopLeavesAStrangerAlone(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := process.Start(process.Command{
		Path: executable, Args: []string{executable, "-test.run=^TestSleeper$"}, Env: append(os.Environ(), "RDD_TEST_SLEEPER=1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.KillTree(context.Background(), stranger.Identity()); err != nil {
			t.Error(err)
		}
	})
	before := stranger.Identity()
	before.StartTime-- // the daemon that had this PID is long gone
	if err := writeRecord(inst, &Record{Identity: before}); err != nil {
		t.Fatal(err)
	}
	if was, err := Stop(t.Context(), inst, Stopping{Timeout: time.Second}); was || err != nil {
		t.Errorf("Stop = %t, %v", was, err)
	}
	handle, err := process.Open(stranger.Identity())
	if err != nil {
		t.Fatalf("the stranger is gone: %v", err)
	}
	defer handle.Close()
	if !handle.Alive() {
		t.Error("the stranger is gone")
	}
}

// TestSleeper is the stranger of TestStopLeavesAStrangerAlone.
func TestSleeper(t *testing.T) {
	if os.Getenv("RDD_TEST_SLEEPER") != "" {
		<-time.After(time.Minute)
	}
}

func TestSettings(t *testing.T) {
	inst := newInstance(t)
	if got, exists, err := LoadSettings(inst); exists || err != nil || got != DefaultSettings() {
		t.Errorf("before any were saved: %+v, %t, %v", got, exists, err)
	}
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	want := Settings{SecurePort: 7443, Controllers: "", DatastoreEndpoint: "http://127.0.0.1:2379"}
	if err := SaveSettings(inst, want); err != nil {
		t.Fatal(err)
	}
	if got, exists, err := LoadSettings(inst); !exists || err != nil || got != want {
		t.Errorf("saved and loaded: %+v, %t, %v; want %+v", got, exists, err, want)
	}
	if err := SaveSettings(inst, Settings{SecurePort: 70000}); err == nil {
		t.Error("port 70000 was saved")
	}
	if err := os.WriteFile(inst.SettingsFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadSettings(inst); err == nil || !strings.Contains(err.Error(), inst.SettingsFile()) {
		t.Errorf("broken settings: %v, want the path in it", err)
	}
}

func TestRuns(t *testing.T) {
	for list, want := range map[string]bool{
		"*": true, "": false, "lima": true, "limavm": true, "-lima": false, "*,-lima": false, "*,-limavm": false, "-lima, limavm": true,
		"-other": true, "other": false, "*,-other": true, ",": false, "-*": false,
	} {
		if runs(list, "limavm") != want {
			t.Errorf("runs(%q) = %t, want %t", list, !want, want)
		}
	}
	for list, want := range map[string]string{
		"*": "", "": "", "lima": "", "-lima": "", "*,-limavm": "", "-other": `"other"`, "*,lama": `"lama"`, "-": `""`, "--lima": `"-lima"`,
	} {
		err := Settings{Controllers: list}.Check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), "there is no controller "+want) {
			t.Errorf("checking %q: %v, want %q", list, err, want)
		}
	}
}

func TestRemoveSparesWhatALivingDaemonHas(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(inst)
	if err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(inst.Dir, "store.db")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(t.Context(), Config{Instance: inst, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, ErrRunning) {
		t.Errorf("Remove: %v, want ErrRunning", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	_ = unlock()
}

func TestRemoveSparesWhatOthersHaveMade(t *testing.T) {
	for name, place := range map[string]func(inst instance.Instance) string{
		"a directory":              func(inst instance.Instance) string { return inst.VMDir("theirs") },
		"one that was moved aside": func(inst instance.Instance) string { return filepath.Join(inst.LimaHome(), "_trash") },
	} {
		t.Run(name, func(t *testing.T) { testRemoveSpares(t, place) })
	}
}

func testRemoveSpares(t *testing.T, place func(inst instance.Instance) string) {
	t.Helper()
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(place(inst), "disk")
	ours := filepath.Join(inst.VMDir("ours"), "disk")
	for _, dir := range []string{filepath.Dir(disk), filepath.Dir(ours), inst.RecordDir("ours"), filepath.Join(inst.LimaHome(), "_config")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{disk, ours} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := Remove(t.Context(), Config{Instance: inst, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), filepath.Dir(disk)) {
		t.Errorf("Remove: %v, want the directory that is in the way", err)
	}
	for _, file := range []string{disk, ours} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

// Somebody has taken the directory with the lock away, while another process runs the VMs. Fails when that directory is all that
// is looked at.
func TestRemoveWhereOnlyVMsAreLeft(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockDriver(t.Context(), inst, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unlock() }()
	if err := os.RemoveAll(inst.Dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	cfg := Config{Instance: inst, Executable: "rdd", Log: slog.New(slog.DiscardHandler)}
	for name, do := range map[string]func(context.Context, Config) error{"Remove": Remove, "Reset": Reset, "StopVMs": StopVMs} {
		if err := do(ctx, cfg); !errors.Is(err, errDriven) {
			t.Errorf("%s: %v, want %v", name, err, errDriven)
		}
	}
	if _, err := os.Stat(inst.DriverLock()); err != nil {
		t.Error(err)
	}
}

func TestAnnouncerTellsOnce(t *testing.T) {
	for name, c := range map[string]struct {
		tell func(*Announcer)
		want outcome
	}{
		"ready":   {func(a *Announcer) { a.Ready(); a.Failed(errors.New("later")) }, outcome{Ready: true}},
		"failed":  {func(a *Announcer) { a.Failed(errors.New("no")) }, outcome{Error: "no"}},
		"running": {func(a *Announcer) { a.Failed(&runningError{}) }, outcome{Running: true, Error: (&runningError{}).Error()}},
	} {
		hearing, telling, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c.tell(NewAnnouncer(telling))
		if got, err := hear(hearing); err != nil || got != c.want {
			t.Errorf("%s: heard %+v, %v; want %+v", name, got, err, c.want)
		}
		hearing.Close()
	}
	var nobody *Announcer
	nobody.Ready()
	nobody.Failed(errors.New("no"))
	if _, err := hear(strings.NewReader("")); err == nil {
		t.Error("silence was heard as an outcome")
	}
}

func TestLaunchWaitsForTheEndOfADaemonThatIsStopping(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := writeRecord(inst, &Record{Identity: self, Ready: &now, Stopping: &now}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	record, launched, err := Launch(ctx, Launching{Instance: inst, Executable: "/nowhere"})
	if record != nil || launched || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "still stopping") {
		t.Errorf("Launch = %+v, %t, %v", record, launched, err)
	}
}
