package hostagent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/hostagent/vmtype"
	"github.com/seed-192657fa/rdd/process"
)

// bench is an agent whose kills are counted and end nobody.
func bench(t *testing.T) (a *agent, kills *atomic.Int32) {
	t.Helper()
	journal, err := control.CreateJournal(filepath.Join(t.TempDir(), "ha.stdout.log"))
	if err != nil {
		t.Fatal(err)
	}
	kills = new(atomic.Int32)
	a = newAgent(t.Context(), process.Identity{PID: 1}, journal)
	a.kill = func(context.Context) error { kills.Add(1); return nil }
	return a, kills
}

func notes(t *testing.T, a *agent) []control.Note {
	t.Helper()
	if err := a.journal.Close(); err != nil {
		t.Fatal(err)
	}
	var all []control.Note
	err := a.journal.Follow(t.Context(), 0, func(entry control.Entry) error {
		var event control.Event
		if err := json.Unmarshal(entry.Event, &event); err != nil {
			return err
		}
		if event.RDD != nil {
			all = append(all, *event.RDD)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func say(t *testing.T, a *agent, status control.Status) {
	t.Helper()
	line, err := json.Marshal(control.Event{Time: time.Now(), Status: status})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

func TestPhasesFollowLima(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := bench(t)
		defer a.cancel(nil)
		for _, step := range []struct {
			say  control.Status
			want control.Phase
		}{
			{control.Status{SSHLocalPort: 60022}, control.Booting},
			{control.Status{SSHLocalPort: 60022, Running: true, Degraded: true, Errors: []string{"no mounts"}}, control.Running},
			{control.Status{SSHLocalPort: 60022, Running: true}, control.Running},
		} {
			say(t, a, step.say)
			if got := a.State(); got.Phase != step.want || got.SSHPort != 60022 || got.Offset != a.journal.Size() {
				t.Errorf("after %+v: %+v", step.say, got)
			}
		}
	})
}

func TestStopWithinItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, kills := bench(t)
		say(t, a, control.Status{SSHLocalPort: 1})
		a.Stop(time.Minute)
		a.Stop(time.Hour) // cannot lengthen it
		if sig := <-a.lima; sig != os.Interrupt {
			t.Errorf("Lima was told %v", sig)
		}
		if len(a.lima) != 0 {
			t.Error("Lima was told twice")
		}
		if !a.wasStopped() || a.State().Phase != control.Stopping || !errors.Is(context.Cause(a.ctx), errStopped) {
			t.Errorf("phase %s, cause %v", a.State().Phase, context.Cause(a.ctx))
		}
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if kills.Load() != 0 {
			t.Fatal("force within the grace")
		}
		time.Sleep(time.Second + endTimeout)
		<-a.gaveUp // Lima did not come back
		if kills.Load() != 1 {
			t.Errorf("%d kills", kills.Load())
		}
		got := notes(t, a)
		if len(got) != 2 || !got[0].Stopping || !got[1].Forced {
			t.Errorf("told %+v", got)
		}
	})
}

func TestShorterGraceTakesEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, kills := bench(t)
		a.Stop(time.Hour)
		time.Sleep(time.Second)
		a.Stop(0)
		time.Sleep(endTimeout + time.Millisecond)
		<-a.gaveUp
		if kills.Load() != 1 {
			t.Errorf("%d kills", kills.Load())
		}
		a.Stop(0) // nothing is left to do
		synctest.Wait()
		if kills.Load() != 1 {
			t.Errorf("%d kills", kills.Load())
		}
	})
}

// TestForceBeforeTheDriver has the force come before there is a VM to use it on.
func TestForceBeforeTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, kills := bench(t)
		a.Stop(0)
		synctest.Wait()
		say(t, a, control.Status{SSHLocalPort: 1}) // the driver has started all the same
		synctest.Wait()
		if kills.Load() != 2 {
			t.Errorf("%d kills, so the VM that came late is alive", kills.Load())
		}
		time.Sleep(endTimeout)
		<-a.gaveUp
	})
}

func TestDriverOf(t *testing.T) {
	dir := instancedir.Dir{Home: filepath.Join(t.TempDir(), "a [home]"), Name: "one"} // which is no pattern
	if err := os.MkdirAll(dir.Path(), 0o700); err != nil {
		t.Fatal(err)
	}
	info := func(pid int, name string) process.Info {
		return process.Info{Identity: process.Identity{PID: pid, StartTime: 1}, Name: name}
	}
	self := process.Identity{PID: 10}
	found := []process.Info{info(20, "ssh"), info(30, "qemu-system-x86"), info(40, "virtiofsd")}
	if id, ok := driverOf(found, dir, self, vmtype.Of("qemu")); !ok || id.PID != 30 {
		t.Errorf("by its name: %v, %v", id, ok)
	}
	write := func(name, pid string) {
		if err := os.WriteFile(filepath.Join(dir.Path(), name), []byte(pid), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ha.pid", "10")
	write("krunkit.pid", "99") // a stranger
	if id, ok := driverOf(found[:1], dir, self, vmtype.Of("qemu")); ok {
		t.Errorf("a stranger or the agent was taken for the driver: %v", id)
	}
	write("qemu.pid", "40")
	if id, ok := driverOf(found, dir, self, vmtype.Of("qemu")); !ok || id.PID != 40 {
		t.Errorf("by its PID file: %v, %v", id, ok)
	}
	write("krunkit.pid", "10")
	if id, ok := driverOf(nil, dir, self, vmtype.Of("krunkit")); !ok || id != self {
		t.Errorf("a VM inside of the agent: %v, %v", id, ok)
	}
	if id, ok := driverOf(found, dir, self, vmtype.Of("vz")); !ok || id != self {
		t.Errorf("VZ: %v, %v", id, ok)
	}
	if err := os.Remove(filepath.Join(dir.Path(), "krunkit.pid")); err != nil {
		t.Fatal(err)
	}
	write("qemu.pid", "99")
	// Lima's PID file of an external driver is removed by the guard.
	external := append(slices.Clone(found), info(50, "lima-driver-myh"))
	if id, ok := driverOf(external, dir, self, vmtype.Of("myhypervisor")); !ok || id.PID != 50 {
		t.Errorf("an external driver: %v, %v", id, ok)
	}
	if id, ok := driverOf(found, dir, self, vmtype.Of("wsl2")); ok {
		t.Errorf("a process was taken for a distribution: %v", id)
	}
}

// TestTheDriverIsFoundOnceTheProcessesCanBeSeen fails if one look that fails is the last one.
func TestTheDriverIsFoundOnceTheProcessesCanBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := bench(t)
		defer a.cancel(nil)
		want := process.Identity{PID: 30, StartTime: 1}
		looks := 0
		look := func() ([]process.Info, error) {
			if looks++; looks <= 2 {
				return nil, syscall.EMFILE
			}
			return []process.Info{{Identity: want, Name: "qemu-system-x86"}}, nil
		}
		go a.followDriver(a.ctx, look, instancedir.Dir{Home: t.TempDir(), Name: "one"}, vmtype.Of("qemu"))
		say(t, a, control.Status{SSHLocalPort: 60022})
		time.Sleep(2 * lookPause)
		synctest.Wait()
		if got := a.State().Driver; got != want {
			t.Errorf("the driver is %v after %d looks", got, looks)
		}
	})
}

// TestLimaIsNotToldOfAFullDisk: its encoder would never write an event again. A closed journal stands for the disk.
func TestLimaIsNotToldOfAFullDisk(t *testing.T) {
	a, _ := bench(t)
	defer a.cancel(nil)
	if err := a.journal.Close(); err != nil {
		t.Fatal(err)
	}
	lima := json.NewEncoder(a)
	for _, event := range []control.Event{{Status: control.Status{SSHLocalPort: 1}}, {Status: control.Status{SSHLocalPort: 1, Running: true}}} {
		if err := lima.Encode(event); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.State(); got.Phase != control.Running {
		t.Errorf("the agent knows of %+v", got)
	}
}
