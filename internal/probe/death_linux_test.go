package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// roleVariable makes the test binary act as a daemon that probes.
const roleVariable = "PROBE_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		guest := guests["x86_64"]
		program, err := LookPath(guest.program, os.Environ())
		if err == nil {
			_, err = runGuest(context.Background(), program, guest, os.Environ())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestADeadDaemonLeavesNoProbe: neither QEMU, which KVM may have halted for ever, nor its firmware. It fails without WithThread.
func TestADeadDaemonLeavesNoProbe(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	env := append(stub(t, `test -s /dev/fd/3 && echo $$ >"$TMPDIR.new" && mv "$TMPDIR.new" "$TMPDIR.pid"; exec sleep 3600`),
		roleVariable+"=daemon", "TMPDIR="+filepath.Join(dir, "tmp"))
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	daemon, err := process.Start(process.Command{Path: self, Env: env, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var pid []byte
	for pid == nil {
		if pid, err = os.ReadFile(filepath.Join(dir, "tmp.pid")); err != nil && ctx.Err() != nil {
			t.Fatalf("the probe never ran: %v", err)
		}
	}
	number, err := strconv.Atoi(string(pid[:len(pid)-1]))
	if err != nil {
		t.Fatal(err)
	}
	qemu, err := process.Find(number)
	if err != nil {
		t.Fatal(err)
	}
	probing, err := process.Open(qemu)
	if err != nil {
		t.Fatal(err)
	}
	defer probing.Close()
	killed, err := process.Open(daemon.Identity())
	if err == nil {
		err = killed.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := probing.Wait(ctx); err != nil {
		t.Errorf("the probe outlives its daemon: %v", err)
		_ = probing.Kill()
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
