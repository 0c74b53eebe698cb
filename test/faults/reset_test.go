package faults

import (
	"errors"
	"os"
	"testing"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
)

// TestReset empties the datastore of a daemon that died while its VM ran: the VM is shut down first, and the next daemon finds
// nothing of it, at the same address. It is refused under a living daemon.
//
// It fails when Reset does not take the lock, does not drain the VMs, or leaves the store or the VM's directory.
func TestReset(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch()
	s.make("one")
	s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = true })
	s.awaitPhase("one", v1alpha1.PhaseRunning)
	members := s.family("one")
	if err := daemon.Reset(t.Context(), s.cfg); !errors.Is(err, daemon.ErrRunning) {
		t.Errorf("under a living daemon: %v, want ErrRunning", err)
	}
	if got := s.get("one"); got == nil || got.Status.Phase != v1alpha1.PhaseRunning || len(s.family("one")) != len(members) {
		t.Errorf("a refused reset has touched the VM: %+v", got)
	}
	port := s.address()
	s.killDaemon()
	s.must(daemon.Reset(t.Context(), s.cfg))
	s.expectGone(members)
	for _, path := range []string{s.cfg.Instance.StoreFile(), s.cfg.Instance.ShortDir} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	s.launch()
	if s.get("one") != nil {
		t.Error("the VM's object is still there")
	}
	if now := s.address(); now != port {
		t.Errorf("the API was at %s, and is at %s", port, now)
	}
	s.make("one") // the name is free, and so is the directory
}

// address is where the daemon serves.
func (s *site) address() string {
	s.Helper()
	record, err := daemon.Find(s.cfg.Instance)
	s.must(err)
	return record.Address
}
