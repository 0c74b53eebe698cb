package faults

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/process"
	"github.com/seed-192657fa/rdd/test/guest"
)

var (
	rounds = flag.Int("rounds", 12, "rounds of the soak")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the soak")
	reals  = flag.Int("real", 0, "how many real VMs are among those of the soak; they need bin/rdd")
)

// What can happen to a VM in a round. What a user asks for, and what dies.
const (
	hitNothing = ""
	hitAgent   = "agent"
	hitDriver  = "driver"
	hitBoth    = "agent and driver"
	hitStop    = "stop"
	hitRestart = "restart"
)

// TestSoak kills the daemon, agents and drivers of several VMs at random, while a user stops and restarts some, round after
// round. After each round every VM is in the state that its object asks for: those that nothing happened to with the guest
// that they had (P4), those that something happened to with exactly one boot more; nothing of an earlier run is left (P2), no
// acknowledged write is lost (P5), and whoever wears a PID that turns up in a VM's files lives (P1).
//
// It fails when the driver kills in place of adopting (supervisor.load), when supervisor.tidy leaves the family alone, and
// when StepRestart starts before the request is forgotten.
func TestSoak(t *testing.T) {
	t.Parallel()
	t.Logf("-rounds=%d -seed=%d -real=%d", *rounds, *seed, *reals)
	s := &soak{site: newBuiltSite(t, buildDaemon), random: rand.New(rand.NewPCG(*seed, 0)), stranger: neighbour(t), died: map[string]bool{}}
	var names []string
	for i := range *reals {
		names = append(names, fmt.Sprintf("real%d", i))
	}
	if *reals > 0 {
		rdd, err := filepath.Abs("../../bin/rdd")
		s.must(err)
		s.rdd = rdd
		s.cfg.Environ = append(s.cfg.Environ, "RDD_STANDIN_REAL="+rdd)
	}
	names = append(names, "one", "two", "three")
	s.launch()
	for _, name := range names {
		if strings.HasPrefix(name, "real") {
			s.makeFrom(name, string(guest.Template(t)))
		} else {
			s.make(name)
		}
		s.patch(name, wantRunning(true))
	}
	begun := time.Now()
	for round := range *rounds {
		s.round(round, names)
		if (round+1)%100 == 0 {
			t.Logf("%d rounds in %s, %d deaths of daemons, %d of agents and drivers", round+1, time.Since(begun).Round(time.Second), s.daemons, s.deaths)
		}
	}
	t.Logf("%d rounds in %s, %d deaths of daemons, %d of agents and drivers", *rounds, time.Since(begun).Round(time.Second), s.daemons, s.deaths)
	var members []process.Identity
	for _, name := range names {
		members = append(members, s.family(name)...)
	}
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
		t.Errorf("Stop: %t, %v", was, err)
	}
	s.expectGone(members)
	for _, name := range names {
		s.expectTidy(name)
	}
	s.expectNobody()
	s.must(daemon.Remove(t.Context(), s.cfg))
}

// expectNobody fails for each process of the site that is left, whoever started it: all have its home directory in common.
func (s *site) expectNobody() {
	s.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/environ")
	s.must(err)
	for _, entry := range entries {
		environ, err := os.ReadFile(entry)
		if err != nil || !bytes.Contains(environ, []byte("HOME="+s.top+"\x00")) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(entry), "cmdline"))
		s.Errorf("left running: %s: %q", filepath.Base(filepath.Dir(entry)), bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
	}
}

// soak is a site to which things happen.
type soak struct {
	*site
	random   *rand.Rand
	stranger process.Identity
	rdd      string          // for what is asked of real guests
	died     map[string]bool // in the round before
	daemons  int             // deaths
	deaths   int
}

// agentSaid is the end of what the agent of a VM has logged.
func (s *soak) agentSaid(name string) string {
	const enough = 8 << 10
	text, err := os.ReadFile(s.dir(name).AgentLog())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-enough):])
}

// subject is one VM in one round.
type subject struct {
	name    string
	hit     string
	before  *v1alpha1.LimaVM
	agent   process.Identity
	members []process.Identity
	boots   int    // of a stand-in's guest
	bootID  string // of a real guest
}

func (s *soak) round(round int, names []string) {
	s.Helper()
	mark := strconv.Itoa(round)
	var all []*subject
	for _, name := range names {
		all = append(all, s.subject(name, mark))
	}
	killed := s.random.IntN(2) == 0
	again := killed && s.random.IntN(4) == 0
	what := fmt.Sprintf("round %d of -seed=%d: daemon killed %t, again %t", round, *seed, killed, again)
	for _, v := range all {
		what += fmt.Sprintf(", %s: %q", v.name, v.hit)
	}
	defer func() {
		if s.Failed() {
			s.Log(what)
			for _, name := range names {
				s.Logf("the agent of %s:\n%s", name, s.agentSaid(name))
			}
			s.FailNow()
		}
	}()
	planted := all[s.random.IntN(len(all))]
	plantPIDs(s.T, s.dir(planted.name), s.stranger)
	plantLedger(s.T, s.dir(planted.name), s.stranger, false)

	s.asks(all)
	s.die(all, killed)
	if killed {
		s.launch()
		if again {
			time.Sleep(time.Duration(s.random.IntN(400)) * time.Millisecond) // in the middle of whatever it is doing
			s.killDaemon()
			s.daemons++
			s.launch()
		}
	}
	for _, v := range all {
		s.verify(v, mark)
	}
	if !alive(s.stranger) {
		s.Error("a stranger was killed")
	}
}

// subject waits until a VM runs, notes what is known of it, leaves a mark in it, and says what is to happen to it.
func (s *soak) subject(name, mark string) *subject {
	s.Helper()
	v := &subject{name: name, before: s.awaitPhase(name, v1alpha1.PhaseRunning)}
	family, err := process.ReadFamily(s.dir(name).Ledger())
	s.must(err)
	v.agent, v.members = family.Head, s.family(name)
	hits := []string{hitNothing, hitNothing, hitAgent, hitDriver, hitBoth, hitStop, hitRestart}
	v.hit = hits[s.random.IntN(len(hits))]
	if s.died[name] { // failures in a row add up to long pauses, and a stop ends the row
		v.hit = hitStop
	}
	s.died[name] = v.hit == hitAgent || v.hit == hitDriver || v.hit == hitBoth
	if v.real() {
		v.bootID = s.guest(name, "cat /proc/sys/kernel/random/boot_id && echo "+mark+" >mark && sync")
	} else {
		v.boots = len(s.boots(name))
	}
	s.patch(name, func(obj *v1alpha1.LimaVM) { obj.Labels = map[string]string{"mark": mark} })
	return v
}

func (v *subject) real() bool { return strings.HasPrefix(v.name, "real") }

// guest runs a command in a real guest.
func (s *soak) guest(name, script string) string {
	s.Helper()
	command := exec.Command(s.rdd, "--instance="+s.cfg.Instance.Name, "limavm", "shell", name, "--", "sh", "-c", script)
	command.Env = s.cfg.Environ
	output, err := command.Output()
	if err != nil {
		s.Fatalf("%s in %s: %v", script, name, err)
	}
	return strings.TrimSpace(string(output))
}

// asks does what the user does in a round.
func (s *soak) asks(all []*subject) {
	for _, v := range all {
		switch v.hit {
		case hitStop:
			if v.real() {
				s.guest(v.name, "echo unsynced >>mark") // a guest that is shut down keeps it
			}
			s.patch(v.name, wantRunning(false))
		case hitRestart:
			s.patch(v.name, ask(v1alpha1.AnnotationRestart))
		}
	}
}

// die kills in any order.
func (s *soak) die(all []*subject, killed bool) {
	var deaths []func()
	if killed {
		deaths = append(deaths, s.killDaemon)
		s.daemons++
	}
	for _, v := range all {
		if v.hit == hitAgent || v.hit == hitBoth {
			deaths = append(deaths, func() { s.kill(v.agent) })
			s.deaths++
		}
		if v.hit == hitDriver || v.hit == hitBoth {
			deaths = append(deaths, func() { s.killDriver(v) })
			s.deaths++
		}
	}
	s.random.Shuffle(len(deaths), func(i, j int) { deaths[i], deaths[j] = deaths[j], deaths[i] })
	for _, death := range deaths {
		death()
	}
}

func (s *soak) killDriver(v *subject) {
	for _, member := range v.members {
		if member.PID == int(v.before.Status.Host.DriverPID) {
			s.kill(member)
			return
		}
	}
	s.Fatalf("the driver of %s, %d, is not in its family %v", v.name, v.before.Status.Host.DriverPID, v.members)
}

// verify waits for what a VM's object asks for, and looks at what has become of it.
func (s *soak) verify(v *subject, mark string) {
	s.Helper()
	if v.hit == hitStop {
		s.awaitPhase(v.name, v1alpha1.PhaseStopped)
		s.expectGone(v.members)
		s.expectTidy(v.name)
		if !v.real() {
			if boots := s.boots(v.name); len(boots) != v.boots || !boots[v.boots-1] {
				s.Errorf("%s: %d boots before a stop, then %v, want the last one shut down", v.name, v.boots, boots)
			}
		}
		s.patch(v.name, wantRunning(true))
	}
	identity := v.before.Status.Host.Identity
	boots := 0
	if v.hit != hitNothing {
		boots = 1
	}
	after := s.awaitVM(v.name, "the guest that is wanted", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Phase == v1alpha1.PhaseRunning && len(obj.Annotations) == 0 && !obj.Status.RestartNeeded &&
			(obj.Status.Host.Identity == identity) == (boots == 0)
	})
	if got := after.Status.RestartCount - v.before.Status.RestartCount; int(got) != boots {
		s.Errorf("%s: it came to run %d times, want %d", v.name, got, boots)
	}
	if after.Labels["mark"] != mark {
		s.Errorf("%s: an acknowledged write is lost: %v", v.name, after.Labels)
	}
	if boots > 0 {
		s.expectGone(v.members)
	}
	if !v.real() {
		if got := len(s.boots(v.name)) - v.boots; got != boots {
			s.Errorf("%s: its guest has booted %d times, want %d", v.name, got, boots)
		}
		return
	}
	got := strings.Split(s.guest(v.name, "cat /proc/sys/kernel/random/boot_id mark"), "\n")
	if (got[0] == v.bootID) != (boots == 0) {
		s.Errorf("%s: boot %s after %s, want another: %t", v.name, got[0], v.bootID, boots > 0)
	}
	want := mark
	if v.hit == hitStop {
		want += " unsynced"
	}
	if kept := strings.Join(got[1:], " "); kept != want {
		s.Errorf("%s: its file holds %q, want %q", v.name, kept, want)
	}
}
