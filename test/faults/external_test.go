package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/registration"
	"github.com/seed-192657fa/rdd/process"
)

// outside is a process that runs the controllers.
type outside struct {
	*process.Child
	log string
}

// startOutside starts it, and does not wait for what becomes of it.
func (s *site) startOutside() *outside {
	s.Helper()
	file, err := os.CreateTemp(s.top, "outside")
	s.must(err)
	defer file.Close()
	child, err := process.Start(process.Command{
		Path: s.program, Env: s.cfg.Environ, Stderr: file,
		Args: []string{s.program, "--instance=" + s.cfg.Instance.Name, "--log-level=info", "controllers", "--group=lima"},
	})
	s.must(err)
	o := &outside{child, file.Name()}
	s.Cleanup(func() {
		if err := process.KillTree(context.Background(), child.Identity()); err != nil {
			s.Error(err)
		}
		if s.Failed() {
			s.Logf("the controllers outside:\n%s", o.said())
		}
	})
	return o
}

// launchOutside starts it, and waits until it has the place in the registry.
func (s *site) launchOutside() *outside {
	s.Helper()
	o := s.startOutside()
	s.awaitHolder("the controllers outside", func(holder process.Identity) bool { return holder == o.Identity() })
	return o
}

func (o *outside) said() string {
	text, err := os.ReadFile(o.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ended waits for the end, and wants the exit code and the last words.
func (s *site) ended(o *outside, code int, says string) {
	s.Helper()
	select {
	case <-o.Done():
	case <-time.After(patience):
		s.Fatal("the controllers outside do not end")
	}
	if o.ExitCode() != code || !strings.Contains(o.said(), says) {
		s.Errorf("the controllers outside ended with %s, want %d and %q in:\n%s", o.ExitStatus(), code, says, o.said())
	}
}

// awaitHolder waits for who is in the registry; nobody is the zero identity.
func (s *site) awaitHolder(what string, ok func(process.Identity) bool) {
	s.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.cfg.Instance.Kubeconfig())
	s.must(err)
	registry, err := registration.New(config)
	s.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found := false
	s.must(registry.Follow(ctx, func(state registration.State) {
		if ok(state.Entries["lima"].Process) {
			found = true
			cancel()
		}
	}, func() {}))
	if !found {
		s.Fatalf("the registry never had: %s", what)
	}
}

func nobody(holder process.Identity) bool { return holder == process.Identity{} }

// place sets who runs the controllers from the next daemon on.
func (s *site) place(controllers string) {
	s.Helper()
	settings, _, err := daemon.LoadSettings(s.cfg.Instance)
	s.must(err)
	settings.Controllers = controllers
	s.must(daemon.SaveSettings(s.cfg.Instance, settings))
}

func (s *site) stop(keep bool) {
	s.Helper()
	if was, err := daemon.Stop(s.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience, KeepVMs: keep}); !was || err != nil {
		s.Fatalf("Stop: %t, %v", was, err)
	}
}

// runOutside has controllers outside run a VM.
func (s *site) runOutside(name string) (*outside, *v1alpha1.LimaVM) {
	s.Helper()
	s.place("-lima")
	s.launch()
	o := s.launchOutside()
	s.make(name)
	s.patch(name, wantRunning(true))
	return o, s.awaitPhase(name, v1alpha1.PhaseRunning)
}

// TestControllersOutside: a VM goes on across all changes of who runs its controllers: those outside die, their control plane is
// replaced, it dies, it runs them itself, they go outside again, their access is revoked; and it is shut down when the control
// plane is asked to stop.
//
// It fails when there is no lock of the driver, when the registry is not watched, when the controllers do not follow the life of
// their control plane, when stopVMs shuts down at a handover, and when nobody is asked to shut down outside.
func TestControllersOutside(t *testing.T) {
	t.Parallel()
	s := newBuiltSite(t, buildDaemon)
	first, before := s.runOutside("one")
	members := s.family("one")
	grace := int32(30)
	same := func(who string) {
		t.Helper()
		grace++ // only who runs the controllers now observes the change
		s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.StopGracePeriodSeconds = &grace })
		got := s.awaitVM("one", who, func(obj *v1alpha1.LimaVM) bool {
			return obj.Status.ObservedGeneration == obj.Generation && obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Adopted
		})
		if got.Status.Host.Identity != before.Status.Host.Identity || got.Status.RestartCount != 1 || len(s.family("one")) != len(members) {
			t.Errorf("%s: the VM did not just go on: %+v, was %+v", who, got.Status, before.Status)
		}
		if boots := s.boots("one"); len(boots) != 1 {
			t.Errorf("%s: boots: %v", who, boots)
		}
	}

	s.ended(s.startOutside(), 1, `the controllers of group "lima" already run, in the process with PID`)
	s.kill(first.Identity())
	s.awaitHolder("nobody after a death", nobody)
	second := s.launchOutside()
	same("another process outside")

	s.stop(true)
	s.ended(second, 0, "the VMs go on")
	s.launch()
	s.awaitHolder("nobody after a restart", nobody)
	third := s.launchOutside()
	same("outside, at another control plane")

	s.killDaemon()
	s.ended(third, 0, "the VMs go on")
	s.place("*")
	s.launch()
	same("in the control plane")
	s.ended(s.startOutside(), 1, "already run")

	s.place("-lima")
	s.stop(true)
	s.launch()
	fourth := s.launchOutside()
	same("outside again")
	s.revoke()
	s.ended(fourth, 1, "revoked")
	s.awaitHolder("nobody after access was revoked", nobody)
	s.ended(s.startOutside(), 1, `"rdd svc restart" grants it again`)

	s.stop(true)
	s.launch()
	last := s.launchOutside()
	same("outside, with access anew")
	s.stop(false)
	s.ended(last, 0, "")
	s.expectGone(members)
	s.expectTidy("one")
	if boots := s.boots("one"); len(boots) != 1 || !boots[0] {
		t.Errorf("boots: %v, want one that was shut down", boots)
	}
	for _, path := range []string{s.cfg.Instance.ControllersToken("lima"), s.cfg.Instance.ControllersKubeconfig("lima")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", filepath.Base(path), info.Mode(), err)
		}
	}
}

// TestHungControllersOutside: who stops the control plane is told that its VMs may run on, and by whom they are held. They are shut down
// when it is asked again and nobody holds them.
func TestHungControllersOutside(t *testing.T) {
	t.Parallel()
	s := newBuiltSite(t, buildDaemon)
	hung, _ := s.runOutside("one")
	members := s.family("one")
	s.freeze(hung.Identity())
	was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience})
	if want := fmt.Sprintf("the controllers outside, PID %d, have not shut down their VMs", hung.Identity().PID); !was || err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%t, %v", was, err)
	}
	if len(s.family("one")) != len(members) {
		t.Error("the VM is not left alone")
	}
	s.kill(hung.Identity())
	s.must(daemon.StopVMs(t.Context(), s.cfg))
	s.expectGone(members)
	s.expectTidy("one")
	if boots := s.boots("one"); len(boots) != 1 || !boots[0] {
		t.Errorf("boots: %v, want one that was shut down", boots)
	}
}

// revoke takes away the access of the controllers outside.
func (s *site) revoke() {
	s.Helper()
	s.must(s.api.Delete(context.Background(), &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: registration.Namespace, Name: registration.Account("lima")},
	}))
}
