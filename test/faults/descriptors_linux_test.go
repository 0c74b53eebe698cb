package faults

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// TestNoDescriptors has a daemon run out of file descriptors: what it cannot look at is refused, what it is asked for otherwise fails
// with the reason in the object's status, and is done when there are some again. Nobody asks twice.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch()
	record, err := daemon.Find(s.cfg.Instance)
	s.must(err)
	var before unix.Rlimit
	s.must(unix.Prlimit(record.PID, unix.RLIMIT_NOFILE, nil, &before))
	// The connection of the user is there already: a new one cannot be taken.
	s.must(errors.Join(s.api.List(t.Context(), &v1alpha1.LimaVMList{}), s.api.List(t.Context(), &corev1.ConfigMapList{})))
	short := func() {
		s.must(unix.Prlimit(record.PID, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: before.Max}, nil))
	}
	enough := func() { s.must(unix.Prlimit(record.PID, unix.RLIMIT_NOFILE, &before, nil)) }

	short()
	err = s.declare("one", ordinary)
	if err == nil || !strings.Contains(err.Error(), "too many open files") {
		t.Errorf("a template that nobody could check: %v", err)
	}
	enough()
	s.make("one")
	grace := int32(1) // nobody can be asked to shut down: it is waited for in vain
	s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.StopGracePeriodSeconds = &grace })

	oneBoot := func() {
		if boots := s.boots("one"); len(boots) != 1 {
			t.Errorf("boots %v", boots)
		}
	}
	for _, test := range []struct {
		ask               func()
		condition, reason string // of what tells why
		done              func()
	}{
		{func() { s.patch("one", wantRunning(true)) }, v1alpha1.ConditionRunning, v1alpha1.ReasonStartFailed, func() {
			s.awaitPhase("one", v1alpha1.PhaseRunning)
			oneBoot()
		}},
		{func() { s.patch("one", wantRunning(false)) }, v1alpha1.ConditionRunning, v1alpha1.ReasonStopFailed, func() {
			s.awaitPhase("one", v1alpha1.PhaseStopped)
			oneBoot()
		}},
		{func() { s.patch("one", ask(v1alpha1.AnnotationReset)) }, v1alpha1.ConditionCreated, v1alpha1.ReasonCreated, func() {
			s.awaitPhase("one", v1alpha1.PhaseStopped)
		}},
		{func() { s.must(s.api.Delete(t.Context(), s.get("one"))) }, v1alpha1.ConditionCreated, v1alpha1.ReasonCreated, func() {
			s.await("the end of one", &v1alpha1.LimaVMList{}, func() bool { return s.get("one") == nil })
		}},
	} {
		short()
		test.ask()
		s.awaitVM("one", test.reason, func(obj *v1alpha1.LimaVM) bool {
			c := meta.FindStatusCondition(obj.Status.Conditions, test.condition)
			return c.Reason == test.reason && strings.Contains(c.Message, "too many open files")
		})
		enough()
		test.done()
	}
}

// TestAdoptionWithoutDescriptors has a daemon that is short of file descriptors find a VM that runs: first it cannot look for the agent,
// then it cannot talk to it. Neither tells anything of the VM, which goes on and is adopted when there are descriptors again. It is not
// parallel to others: they would be short, too.
func TestAdoptionWithoutDescriptors(t *testing.T) {
	h := newHost(t)
	before := h.run("one").Host.Agent
	hidden := filepath.Join(h.home, "hidden")
	adopted := func(enough func()) {
		t.Helper()
		got := h.until("one", "a failure", func(got vm.Observed) bool { return got.Failure != nil })
		if got.State != vm.Unknown || !strings.Contains(got.Failure.Message, "too many open files") {
			t.Errorf("%s, %+v", got.State, got.Failure)
		}
		enough()
		got = h.until("one", "the truth", func(got vm.Observed) bool { return got.State != vm.Unknown })
		if got.State != vm.Running || got.Failure != nil || got.Host.Agent != before {
			t.Fatalf("%s, %+v, host %+v", got.State, got.Failure, got.Host)
		}
	}

	h.must(h.driver.Close())
	enough := spare(t, 1) // the record can be read; to look for a process takes two
	h.open()
	adopted(enough)

	h.must(os.Rename(h.dir("one").ControlSocket(), hidden))
	h.reopen()
	h.until("one", "an agent", func(got vm.Observed) bool { return got.Host != nil })
	enough = spare(t, 0)
	adopted(func() {
		h.must(os.Rename(hidden, h.dir("one").ControlSocket()))
		enough()
	})
	h.remove("one")
}

// spare leaves this process n file descriptors, until enough is called. When none is left, one that is given back is taken, too.
func spare(t *testing.T, n int) (enough func()) {
	t.Helper()
	const limit = 200
	var before unix.Rlimit
	err := errors.Join(unix.Getrlimit(unix.RLIMIT_NOFILE, &before), unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: before.Max}))
	if err != nil {
		t.Fatal(err)
	}
	var taken []int
	take := func() (err error) {
		for err == nil && len(taken) < limit {
			var fd int
			if fd, err = unix.Dup(0); err == nil {
				taken = append(taken, fd)
			}
		}
		return err
	}
	err = take()
	release := func(fds []int) {
		for _, fd := range fds {
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
	}
	release(taken[:n])
	taken = taken[n:]
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n == 0 {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				_ = take()
			}
		}
	}()
	enough = sync.OnceFunc(func() {
		close(stop)
		<-stopped
		release(taken)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(enough)
	if !errors.Is(err, syscall.EMFILE) {
		t.Fatal(err)
	}
	return enough
}
