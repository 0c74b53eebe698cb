package faults

import (
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// TestAgentsOfOtherBuilds are taken over, whatever they speak: an agent that can be talked to as ours are, one that cannot by its
// identity. What does not work is told, nothing is booted again, and the guest is shut down when that is asked for.
func TestAgentsOfOtherBuilds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		speaks   control.Versions
		told     int    // that the agent is old
		degraded string // part of what does not work
	}{
		"older":   {control.Versions{Oldest: 1, Newest: 1}, 1, ""},
		"newer":   {control.Versions{Oldest: 1, Newest: 9}, 0, ""},
		"too new": {control.Versions{Oldest: 7, Newest: 9}, 0, "speaks protocol 7 to 9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.misbehave("one", standin.Faults{Speaks: test.speaks})
			before := h.run("one")
			h.journals("one", `"running":true`)
			h.forgetNotices("one")
			h.reopen()
			got := h.reach("one", vm.Running)
			members := h.family("one")
			if got.Host.Agent != before.Host.Agent || !got.Host.Adopted || got.Instance.SSHPort == 0 || got.Host.Driver.IsZero() {
				t.Errorf("%+v was not adopted, but %+v, ssh port %d", before.Host, got.Host, got.Instance.SSHPort)
			}
			if n := h.noticed("one", "OldAgent"); n != test.told {
				t.Errorf("that the agent is old was told %d times", n)
			}
			if text := strings.Join(got.Degraded, "; "); (text != "") != (test.degraded != "") || !strings.Contains(text, test.degraded) {
				t.Errorf("degraded: %q", text)
			}
			h.must(h.driver.Stop("one", patience))
			h.reach("one", vm.Stopped)
			if boots := h.boots("one"); len(boots) != 1 || !boots[0] || h.noticed("one", "ForcedStop") != 0 {
				t.Errorf("boots %v, want one that was shut down", boots)
			}
			h.expectGone(members)
			h.expectTidy("one")
		})
	}
}

// journals waits until the agent of a VM has written something into its journal: nobody may be able to tell.
func (h *host) journals(name, what string) {
	h.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(h.dir(name).Journal())
		h.must(err)
		if strings.Contains(string(text), what) {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("the journal never had %s: %s", what, text)
		}
	}
}

// controllers sets those that the next daemon runs.
func (s *site) controllers(list string) {
	s.Helper()
	settings, _, err := daemon.LoadSettings(s.cfg.Instance)
	s.must(err)
	settings.Controllers = list
	s.must(daemon.SaveSettings(s.cfg.Instance, settings))
}

// TestSpecChangedMeanwhile has users ask for something while nobody reconciles. The daemon that does adopts the VM, and does it.
func TestSpecChangedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch()
	s.make("one")
	s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = true })
	before := s.awaitPhase("one", v1alpha1.PhaseRunning)
	// meanwhile has a daemon without controllers take the requests, and the next one find them.
	meanwhile := func(ask func()) {
		t.Helper()
		s.killDaemon()
		s.controllers("")
		s.launch()
		ask()
		s.killDaemon()
		s.controllers(daemon.DefaultSettings().Controllers)
		s.launch()
	}
	meanwhile(func() {})
	got := s.awaitVM("one", "an adoption", func(obj *v1alpha1.LimaVM) bool { return obj.Status.Host != nil && obj.Status.Host.Adopted })
	if got.Status.Host.Identity != before.Status.Host.Identity || got.Status.RestartCount != 1 {
		t.Errorf("host %+v, %d restarts; it was %+v", got.Status.Host, got.Status.RestartCount, before.Status.Host)
	}
	meanwhile(func() {
		s.patch("one", ask(v1alpha1.AnnotationRestart))
	})
	got = s.awaitVM("one", "a restart", func(obj *v1alpha1.LimaVM) bool { return obj.Status.RestartCount == 2 && len(obj.Annotations) == 0 })
	meanwhile(func() {
		owned := &corev1.ConfigMap{}
		s.must(s.api.Get(t.Context(), client.ObjectKey{Namespace: got.Namespace, Name: got.TemplateConfigMapName()}, owned))
		owned.Data[v1alpha1.TemplateKey] = strings.Replace(owned.Data[v1alpha1.TemplateKey], "cpus: 2", "cpus: 1", 1)
		s.must(s.api.Update(t.Context(), owned))
	})
	got = s.awaitVM("one", "another template", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.RestartCount == 3 && obj.Status.AppliedTemplate != got.Status.AppliedTemplate
	})
	meanwhile(func() { s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = false }) })
	s.awaitPhase("one", v1alpha1.PhaseStopped)
	if boots := s.boots("one"); len(boots) != 3 || !boots[0] || !boots[1] || !boots[2] {
		t.Errorf("boots %v, want three that were shut down", boots)
	}
	s.expectTidy("one")
	s.patch("one", func(obj *v1alpha1.LimaVM) { obj.Spec.Running = true })
	s.awaitPhase("one", v1alpha1.PhaseRunning)
	members := s.family("one")
	meanwhile(func() { s.must(s.api.Delete(t.Context(), s.get("one"))) })
	s.awaitVM("one", "a deletion", func(obj *v1alpha1.LimaVM) bool { return obj == nil })
	s.expectGone(members)
}
