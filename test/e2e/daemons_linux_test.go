package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// TestManyStartsAtTheSameMoment: whoever wins, all of them find the same daemon.
func TestManyStartsAtTheSameMoment(t *testing.T) {
	r := newRig(t)
	const starts = 6
	results := make([]result, starts)
	var group sync.WaitGroup
	for i := range results {
		group.Go(func() { results[i] = r.run("svc", "start") })
	}
	group.Wait()
	won := 0
	for _, got := range results {
		if got.code != 0 {
			t.Errorf("exit code %d: %s", got.code, got.stderr)
		}
		if strings.Contains(got.stdout, "is ready") {
			won++
		}
		if pid := got.stdout[strings.LastIndex(got.stdout, " ")+1:]; pid != results[0].stdout[strings.LastIndex(results[0].stdout, " ")+1:] {
			t.Errorf("two daemons: %s and %s", got.stdout, results[0].stdout)
		}
	}
	if won != 1 {
		t.Errorf("%d of them say that the daemon is theirs, want 1", won)
	}
	served := 0
	for _, id := range r.processes() {
		command, _ := os.ReadFile(filepath.Join("/proc", pidOf(id), "cmdline"))
		if strings.Contains(string(command), "serve") {
			served++
		}
	}
	if served != 1 {
		t.Errorf("%d daemons run, want 1", served)
	}
}

// TestTwoDaemonsInTheForeground: the second one is refused, and the first one is not touched.
func TestTwoDaemonsInTheForeground(t *testing.T) {
	r := newRig(t)
	children := make([]*process.Child, 2)
	for i := range children {
		stderr, err := os.Create(filepath.Join(r.home, "serve"+string(rune('0'+i))))
		if err != nil {
			t.Fatal(err)
		}
		children[i] = r.start(stderr, "svc", "serve")
		stderr.Close()
	}
	var loser, winner int
	select {
	case <-children[0].Done():
		loser, winner = 0, 1
	case <-children[1].Done():
		loser, winner = 1, 0
	case <-time.After(time.Minute):
		t.Fatal("none of two daemons has ended")
	}
	said, err := os.ReadFile(filepath.Join(r.home, "serve"+string(rune('0'+loser))))
	if err != nil {
		t.Fatal(err)
	}
	if children[loser].ExitCode() != 6 || !strings.Contains(string(said), "is already served") {
		t.Errorf("the second daemon: %s, %s", children[loser].ExitStatus(), said)
	}
	if output := r.must("svc", "start"); !strings.Contains(output, "PID "+pidOf(children[winner].Identity())) {
		t.Errorf("the first daemon was replaced: %s", output)
	}
	r.must("svc", "serve", "--unless-running")
	r.must("svc", "stop")
	select {
	case <-children[winner].Done():
	case <-time.After(time.Minute):
		t.Fatal("svc stop did not end the daemon")
	}
	if children[winner].ExitCode() != 0 {
		t.Errorf("a daemon that was asked to end: %s", children[winner].ExitStatus())
	}
}

// TestStartBesideADyingDaemon: a daemon that was killed, and still looks alive while the system takes it apart, is not the one that is
// ready. Here it is stopped, and killed once it was asked.
func TestStartBesideADyingDaemon(t *testing.T) {
	r := newRig(t)
	r.must("svc", "start")
	old := r.daemonPID()
	address := strings.TrimPrefix(r.must("ctl", "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"), "https://")
	if err := syscall.Kill(old, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	before := connections(t, address)
	started := make(chan result, 1)
	go func() { started <- r.run("svc", "start") }()
	for deadline := time.Now().Add(time.Minute); len(started) == 0 && connections(t, address) == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("svc start does not ask the daemon that it found")
		}
	}
	r.kill(old)
	got := <-started
	if pid := r.daemonPID(); pid == old || got.code != 0 || !strings.HasSuffix(got.stdout, "is ready: https://"+address+", PID "+strconv.Itoa(pid)+"\n") {
		t.Errorf("the daemon with PID %d was killed, %d follows: exit code %d, %s%s", old, pid, got.code, got.stdout, got.stderr)
	}
}

// connections counts those to a port of this machine.
func connections(t *testing.T, address string) int {
	t.Helper()
	port, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const established = "01"
	return strings.Count(string(table), fmt.Sprintf(" 0100007F:%04X %s ", port.Port(), established))
}

// TestInstancesSideBySide: the same index, and neither knows of the other.
func TestInstancesSideBySide(t *testing.T) {
	r := newRig(t)
	t.Cleanup(func() {
		for _, name := range []string{"one-7", "two-7"} {
			r.must("--instance="+name, "svc", "delete")
		}
	})
	r.must("--instance=one-7", "svc", "start")
	r.must("--instance=two-7", "svc", "start")
	r.must("--instance=one-7", "limavm", "create", "dev", r.file("image.yaml", image), "--wait=false")
	if output := r.must("--instance=two-7", "limavm", "list", "-o", "name"); output != "" {
		t.Errorf("one instance shows the VM of another: %s", output)
	}
	got := r.runWith([]string{"RDD_INSTANCE=one-7"}, "", "limavm", "list", "-o", "name")
	if got.stdout != "dev\n" {
		t.Errorf("RDD_INSTANCE: %q, %s", got.stdout, got.stderr)
	}
	first := r.must("--instance=two-7", "svc", "start")
	r.must("--instance=two-7", "svc", "stop")
	r.must("--instance=two-7", "svc", "start")
	if again := r.must("--instance=two-7", "svc", "start"); portOf(again) != portOf(first) {
		t.Errorf("the port is not remembered: %s, then %s", first, again)
	}
}

func pidOf(id process.Identity) string { return strings.SplitN(id.String(), "@", 2)[0] }

func portOf(output string) string {
	_, rest, _ := strings.Cut(output, "https://127.0.0.1:")
	port, _, _ := strings.Cut(rest, ",")
	return port
}
