package faults

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
	"github.com/seed-192657fa/rdd/process"
)

// TestStrangersSurviveTheDaemon has the PID of a living process that is none of ours turn up in every file of a VM, and of
// the daemon itself, before each thing that a user can ask for, of a real daemon.
//
// It fails when instancedir.Clear keeps the PID files or does not tell, and when the daemon takes whoever wears the PID in its
// record for its former self (process.Find in place of process.Open, in daemon.Find or daemon.Stop).
func TestStrangersSurviveTheDaemon(t *testing.T) {
	t.Parallel()
	stranger := neighbour(t)
	s := newSite(t)
	dir := s.dir("one")
	s.launch()
	s.make("one")
	// told does something that clears the files of the VM.
	events := 0
	told := func(do func()) {
		t.Helper()
		do()
		want := events + len(pidFiles())
		s.await("Events of all strangers", &corev1.EventList{}, func() bool {
			events = s.strangers()
			return events >= want
		})
	}
	start := func() *v1alpha1.LimaVM {
		s.patch("one", wantRunning(true))
		return s.awaitPhase("one", v1alpha1.PhaseRunning)
	}
	plant := func(dead bool) {
		t.Helper()
		plantPIDs(t, dir, stranger)
		plantLedger(t, dir, stranger, dead)
		if dead {
			plantRecord(t, dir, stranger)
		}
	}
	another := func(before *v1alpha1.LimaVM) func(obj *v1alpha1.LimaVM) bool {
		return func(obj *v1alpha1.LimaVM) bool {
			return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Identity != before.Status.Host.Identity
		}
	}

	told(func() { plant(true); start() })
	told(func() { plant(false); s.patch("one", wantRunning(false)); s.awaitPhase("one", v1alpha1.PhaseStopped) })
	start()
	told(func() {
		plant(false)
		s.patch("one", func(obj *v1alpha1.LimaVM) { wantRunning(false)(obj); ask(v1alpha1.AnnotationForceStop)(obj) })
		s.awaitPhase("one", v1alpha1.PhaseStopped)
	})
	before := start()
	told(func() {
		plant(false)
		s.patch("one", ask(v1alpha1.AnnotationRestart))
		s.awaitVM("one", "a restart", another(before))
	})
	if boots := s.boots("one"); len(boots) != 4 || !boots[0] || !boots[2] || boots[3] {
		t.Errorf("boots: %v, want them shut down but for the one by force and the last", boots)
	}
	before = s.get("one")
	told(func() {
		plant(false)
		s.patch("one", ask(v1alpha1.AnnotationReset))
		s.awaitVM("one", "a reset", another(before))
	})
	if boots := s.boots("one"); len(boots) != 1 {
		t.Errorf("after a reset, boots: %v", boots)
	}

	// The daemon dies, and the next one adopts.
	before = s.awaitPhase("one", v1alpha1.PhaseRunning)
	s.killDaemon()
	plant(false)
	s.plantDaemon(stranger)
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: time.Second}); was || err != nil {
		t.Errorf("Stop of a dead daemon: %t, %v", was, err)
	}
	s.launch()
	s.awaitVM("one", "an adoption", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Adopted && obj.Status.Host.Identity == before.Status.Host.Identity
	})

	// Daemon and agent die, and the next daemon starts the VM anew.
	family, err := process.ReadFamily(dir.Ledger())
	s.must(err)
	s.killDaemon()
	s.kill(family.Head)
	plant(true)
	s.plantDaemon(stranger)
	told(func() { s.launch(); s.awaitVM("one", "another agent", another(before)) })

	// svc stop ends what is in the record, whatever is in the PID file.
	plant(false)
	s.must(os.WriteFile(s.cfg.Instance.PIDFile(), []byte(strconv.Itoa(stranger.PID)), 0o600))
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
		t.Errorf("Stop: %t, %v", was, err)
	}
	s.expectTidy("one")
	plant(true)
	told(func() { s.launch(); s.awaitPhase("one", v1alpha1.PhaseRunning) })

	told(func() {
		plant(false)
		s.must(s.api.Delete(t.Context(), s.get("one")))
		s.awaitVM("one", "a deletion", func(obj *v1alpha1.LimaVM) bool { return obj == nil })
	})

	// svc delete, of a dead daemon with a VM that still runs.
	s.make("one")
	start()
	members := s.family("one")
	s.killDaemon()
	plant(false)
	s.plantDaemon(stranger)
	s.must(daemon.Remove(t.Context(), s.cfg))
	s.expectGone(members)
	for _, path := range []string{s.cfg.Instance.Dir, s.cfg.Instance.ShortDir} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// TestHungDaemonIsEnded: after its deadline, and only itself. The next daemon takes its VM over. It fails when daemon.Stop uses
// no force, or does not wait for what that does.
func TestHungDaemonIsEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch()
	s.make("one")
	s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = true })
	before := s.awaitPhase("one", v1alpha1.PhaseRunning)
	record, err := daemon.Find(s.cfg.Instance)
	s.must(err)
	s.freeze(record.Identity)

	was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: time.Second})
	if !was || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop: %t, %v", was, err)
	}
	s.expectGone([]process.Identity{record.Identity})
	s.launch()
	s.awaitVM("one", "an adoption", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Host != nil && obj.Status.Host.Adopted && obj.Status.Host.Identity == before.Status.Host.Identity
	})
	members := s.family("one")
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
		t.Errorf("Stop: %t, %v", was, err)
	}
	s.expectGone(members)
	s.expectTidy("one")
}

// TestDaemonThatDiesOverItsEnd is asked to end, and killed before it does: whoever has asked is told that nobody has stopped the VMs,
// and does so. It fails when daemon.Stop takes the end of the process for the end of its work.
func TestDaemonThatDiesOverItsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch()
	s.make("one")
	s.patch("one", func(obj *v1alpha1.LimaVM) {
		wantRunning(true)(obj)
		obj.Spec.StopGracePeriodSeconds = ptr.To[int32](77)
	})
	s.awaitPhase("one", v1alpha1.PhaseRunning)
	members := s.family("one")
	record, err := daemon.Find(s.cfg.Instance)
	s.must(err)
	s.freeze(record.Identity)
	type answer struct {
		was bool
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience})
		answered <- answer{was, err}
	}()
	for asked := false; !asked; {
		entries, err := os.ReadDir(s.cfg.Instance.RequestsDir())
		s.must(err)
		asked = len(entries) > 0
	}
	s.kill(record.Identity)
	if got := <-answered; got.was || got.err != nil {
		t.Errorf("Stop: %t, %v", got.was, got.err)
	}
	if got := lima.Graces(s.home, s.cfg.Instance.LimaSuffix()); got["one"] != 77*time.Second {
		t.Errorf("the grace for whoever stops the VM without its object: %v", got)
	}
	s.must(daemon.StopVMs(t.Context(), s.cfg))
	s.expectGone(members)
	if boots := s.boots("one"); len(boots) != 1 || !boots[0] {
		t.Errorf("boots: %v, want one that was shut down", boots)
	}
}

// TestDeathsAtOnce: each pair, and all three. They are stopped and then killed, so that none sees another's end, and helpers that are
// deaf, in sessions of their own and twice forked are left to nobody. The daemon, or the next one, ends them, releases the disk and
// starts the VM anew. It fails when supervisor.endFamily looks for no more than the agent, or Clear keeps the lock.
func TestDeathsAtOnce(t *testing.T) {
	t.Parallel()
	const theDaemon, theAgent, theDriver = "daemon", "agent", "driver"
	for _, who := range [][]string{{theDaemon, theAgent}, {theDaemon, theDriver}, {theAgent, theDriver}, {theDaemon, theAgent, theDriver}} {
		t.Run(strings.Join(who, " and "), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.must(os.MkdirAll(filepath.Join(s.home, "_disks", "data"), 0o700))
			s.misbehave("one", standin.Faults{Strays: 3})
			s.launch()
			s.makeFrom("one", template+"vmType: qemu\nimages:\n- location: https://example.com/image.img\n  arch: x86_64\nadditionalDisks: [data]\n")
			s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = true })
			before := s.awaitPhase("one", v1alpha1.PhaseRunning)
			members := s.grown("one", 2+1+3)
			record, err := daemon.Find(s.cfg.Instance)
			s.must(err)
			family, err := process.ReadFamily(s.dir("one").Ledger())
			s.must(err)
			driver, err := process.Find(int(before.Status.Host.DriverPID))
			s.must(err)
			identities := map[string]process.Identity{theDaemon: record.Identity, theAgent: family.Head, theDriver: driver}
			var dying []process.Identity
			for _, one := range who {
				dying = append(dying, identities[one])
			}
			s.freeze(dying...)
			s.kill(dying...)
			if slices.Contains(who, theDaemon) {
				if slices.Contains(who, theAgent) { // otherwise it ends them itself
					s.expectHelpers(members, identities)
				}
				s.launch()
			}
			s.awaitVM("one", "another agent", func(obj *v1alpha1.LimaVM) bool {
				return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Identity != before.Status.Host.Identity
			})
			s.expectGone(members)
			if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
				t.Errorf("Stop: %t, %v", was, err)
			}
			s.expectTidy("one")
		})
	}
}

// expectHelpers fails when the helpers of a VM have died with it, so that nothing is left that the next daemon could end.
func (s *site) expectHelpers(members []process.Identity, others map[string]process.Identity) {
	s.Helper()
	for _, id := range members {
		if id != others["agent"] && id != others["driver"] && !alive(id) {
			s.Errorf("helper %v has died with them, so that this shows nothing", id)
		}
	}
	if locks := s.locks("one"); len(locks) != 1 {
		s.Errorf("locks: %v", locks)
	}
}
