package hostagent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/process"
)

// shortHome makes a LIMA_HOME whose sockets fit into the limit.
func shortHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "rdd") //nolint:usetesting // the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("LIMA_HOME", home)
	return home
}

// plant writes a PID into each of files in dir.
func plant(t *testing.T, dir string, pid int, files ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(pid)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeletionSparesStrangers has Lima's own Delete meet PID files that name a stranger. It fails, each alone, when the files
// are not cleared first and when they are not told of; and when, with the files still there, the PIDs that Lima has read are
// not zeroed or the guard is not there.
func TestDeletionSparesStrangers(t *testing.T) {
	stranger, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.KillTree(context.Background(), stranger.Identity()); err != nil {
			t.Error(err)
		}
	})
	for name, template := range map[string]string{
		"whole": "vmType: qemu\nimages:\n- location: /nowhere\n  arch: x86_64\n", "broken": "images: {", "half-made": "",
	} {
		t.Run(name, func(t *testing.T) {
			dir := instancedir.Dir{Home: shortHome(t), Name: "one"}
			hooks := logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
			t.Cleanup(func() { logrus.StandardLogger().ReplaceHooks(hooks) })
			logrus.AddHook(&guard{dir: dir})
			files := []string{"ha.pid", "qemu.pid", "x.drv.pid"}
			plant(t, dir.Path(), stranger.Identity().PID, files...)
			if template != "" {
				if err := os.WriteFile(dir.Template(), []byte(template), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(dir.RecordDir(), 0o700); err != nil { // where the worker lives
				t.Fatal(err)
			}
			to := &list{}
			if err := removeInstance(t.Context(), dir, to); err != nil {
				t.Fatal(err)
			}
			if exists, err := dir.Exists(); exists || err != nil {
				t.Errorf("the directory is there: %t, %v", exists, err)
			}
			told := 0
			for _, note := range to.notes {
				if note.Notice != nil && note.Notice.Reason == "ForeignProcess" {
					told++
				}
			}
			if told != len(files) {
				t.Errorf("%d of %d strangers were told", told, len(files))
			}
			select {
			case <-stranger.Done():
				t.Fatalf("the stranger is dead: %s", stranger.ExitStatus())
			default:
			}
		})
	}
}

// TestGuardRemovesEveryPIDFile: also those of our own, whose PID could be another's by the time that Lima signals it. It fails
// when the guard keeps any.
func TestGuardRemovesEveryPIDFile(t *testing.T) {
	dir := instancedir.Dir{Home: filepath.Join(t.TempDir(), "a [home]"), Name: "one"} // which is no pattern
	plant(t, dir.Path(), os.Getppid(), "theirs.drv.pid")
	plant(t, dir.Path(), os.Getpid(), "own.drv.pid", "ha.pid")
	if err := (&guard{dir: dir}).Fire(nil); err != nil {
		t.Fatal(err)
	}
	left, err := instancedir.FilesIn(dir.Path(), "")
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "ha.pid" {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestWorkersEndWhatTheyStart: the guard leaves no PID file by which Lima could end the server of an external driver.
func TestWorkersEndWhatTheyStart(t *testing.T) {
	child, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := endDescendants(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-child.Done():
	case <-time.After(time.Minute):
		t.Errorf("%v is left alive", child.Identity())
	}
}

// TestStalePIDFileOfANetwork: Lima would take a stranger for the network, and in the end signal it. It fails without
// ClearPIDFile, or when that is not told of. The file of a network that answers stays.
func TestStalePIDFileOfANetwork(t *testing.T) {
	dir := filepath.Join(shortHome(t), "_networks", "user-v2")
	stranger, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := endDescendants(context.Background()); err != nil { // the stranger, and the network
			t.Error(err)
		}
	})
	file := filepath.Join(dir, "usernet_user-v2.pid")
	plant(t, dir, stranger.Identity().PID, filepath.Base(file))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var started int
	for _, round := range []string{"stale", "answering"} {
		to := &list{}
		if err := startUserMode(ctx, "user-v2", to); err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, note := range to.notes {
			if note.Notice != nil && note.Notice.Reason == "ForeignProcess" {
				told++
			}
		}
		if want := map[string]int{"stale": 1}[round]; told != want {
			t.Errorf("%s: %d strangers were told, want %d", round, told, want)
		}
		pid, ok := instancedir.ReadPID(file)
		if !ok || pid == stranger.Identity().PID || (started != 0 && pid != started) {
			t.Errorf("%s: the file names %d, before that %d", round, pid, started)
		}
		started = pid
	}
	select {
	case <-stranger.Done():
		t.Errorf("the stranger is dead: %s", stranger.ExitStatus())
	default:
	}
}

// TestNetworksEnd: a network belongs to no VM, and would outlive them all. A record of one that is gone, whose PID somebody else
// wears, harms nobody. It fails without EndNetworks, or when that goes by the PID.
func TestNetworksEnd(t *testing.T) {
	home := shortHome(t)
	stranger, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := endDescendants(context.Background()); err != nil {
			t.Error(err)
		}
	})
	gone := stranger.Identity()
	gone.StartTime--
	stale := instancedir.NetworkRecord(filepath.Join(home, "_networks", "other", "usernet_other.pid"))
	if err := os.MkdirAll(filepath.Dir(stale), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := process.WriteRecord(stale, gone); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := startUserMode(ctx, "user-v2", &list{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home, "_networks", "user-v2", "usernet_user-v2.pid")
	network, err := process.ReadRecord(instancedir.NetworkRecord(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := instancedir.EndNetworks(ctx, home); err != nil {
		t.Fatal(err)
	}
	if _, err := process.Open(network); !errors.Is(err, process.ErrGone) {
		t.Errorf("the network lives: %v", err)
	}
	for _, left := range []string{file, instancedir.NetworkRecord(file), stale} {
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
	select {
	case <-stranger.Done():
		t.Errorf("the stranger is dead: %s", stranger.ExitStatus())
	default:
	}
}

// TestRelay: what the starter of the networks tells reaches the daemon, and its failure becomes the agent's.
func TestRelay(t *testing.T) {
	to := &list{}
	failure := relay(strings.NewReader(`{"notice":{"reason":"ForeignProcess"}}`+"\n"+`{"failure":"no"}`+"\n"+`{"notice":{"rea`), to)
	if failure != "no" || len(to.notes) != 1 || to.notes[0].Notice.Reason != "ForeignProcess" {
		t.Errorf("%q, %+v", failure, to.notes)
	}
}
