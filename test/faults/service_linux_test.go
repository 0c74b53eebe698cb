package faults

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/process"
)

// TestSignalsToTheDaemon: a signal has it shut its VMs down, unless it was started to keep them; a request says more than how it was
// started. It fails when Serve does not look at Config.KeepVMs, or not at the request first.
func TestSignalsToTheDaemon(t *testing.T) {
	t.Parallel()
	signalled := func(s *site) {
		record, err := daemon.Find(s.cfg.Instance)
		s.must(err)
		handle, err := process.Open(record.Identity)
		s.must(err)
		defer handle.Close()
		s.must(handle.Interrupt())
		s.must(handle.Wait(s.Context()))
	}
	stopped := func(s *site) {
		if was, err := daemon.Stop(s.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
			s.Errorf("Stop: %t, %v", was, err)
		}
	}
	for name, end := range map[string]struct {
		flags []string
		how   func(*site)
		kept  bool
	}{
		"a signal":                   {how: signalled},
		"a signal, with --keep-vms":  {flags: []string{"--keep-vms"}, how: signalled, kept: true},
		"a request, with --keep-vms": {flags: []string{"--keep-vms"}, how: stopped},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newBuiltSite(t, buildDaemon)
			s.args = append(s.args, end.flags...)
			s.launch()
			s.make("one")
			s.patch("one", wantRunning(true))
			s.awaitPhase("one", v1alpha1.PhaseRunning)
			members := s.family("one")
			end.how(s)
			if !end.kept {
				s.expectGone(members)
				s.expectTidy("one")
				return
			}
			for _, id := range members {
				if !alive(id) {
					t.Errorf("%v has not survived", id)
				}
			}
			s.launch()
			s.awaitVM("one", "an adoption", func(obj *v1alpha1.LimaVM) bool {
				return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Adopted && obj.Status.Host.PID == int32(members[0].PID)
			})
			stopped(s)
			s.expectTidy("one")
		})
	}
}

// TestTheServiceManagerIsTold: the unit of systemd says Type=notify. The library of the API server does it; where it no longer does,
// "systemctl start" waits in vain.
func TestTheServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	s := newBuiltSite(t, buildDaemon)
	path := filepath.Join(s.home, "notify")
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
	s.must(err)
	defer told.Close()
	s.cfg.Environ = append(s.cfg.Environ, "NOTIFY_SOCKET="+path)
	s.launch()
	s.must(told.SetReadDeadline(time.Now().Add(patience)))
	message := make([]byte, 64)
	n, err := told.Read(message)
	if got := string(message[:n]); err != nil || got != "READY=1\n" {
		t.Errorf("it was told %q, %v", got, err)
	}
}

// TestTheSystemStartsTheDaemon where it is installed to, and the command itself where nothing comes of that. It fails when Launch does
// not ask, when it asks for a daemon that runs, and when it takes the system's word for it.
func TestTheSystemStartsTheDaemon(t *testing.T) {
	t.Parallel()
	s := newBuiltSite(t, buildDaemon)
	direct := daemon.Launching{Instance: s.cfg.Instance, Executable: s.program, Args: s.args, Environ: s.cfg.Environ, NoWait: true}
	asked := 0
	through := direct
	through.Executable, through.NoWait = "/no/such/program", false
	through.Service = func(ctx context.Context) bool {
		asked++
		_, launched, err := daemon.Launch(ctx, direct)
		s.must(err)
		return launched
	}
	for _, first := range []bool{true, false} {
		record, launched, err := daemon.Launch(t.Context(), through)
		if err != nil || launched != first || !record.Serves() || asked != 1 {
			t.Fatalf("launched %t, asked %d times: %+v, %v", launched, asked, record, err)
		}
	}
	stop := func() {
		if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
			t.Errorf("Stop: %t, %v", was, err)
		}
	}
	stop()
	through.Executable, through.Service = s.program, func(context.Context) bool { return true }
	record, launched, err := daemon.Launch(t.Context(), through)
	if err != nil || !launched || !record.Serves() {
		t.Fatalf("launched %t: %+v, %v", launched, record, err)
	}
	stop()
}
