package process

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func BenchmarkVerifyAndSignal(b *testing.B) {
	child := perform(b, "deaf")
	child.expect(1)
	id := child.Identity()
	defer reportCPU(b)()
	for b.Loop() {
		h, err := Open(id)
		if err != nil {
			b.Fatal(err)
		}
		if err := h.Interrupt(); err != nil {
			b.Fatal(err)
		}
		_ = h.Close()
	}
}

// BenchmarkMembers finds the seven processes of a family on a machine that has 5,000 others, all of them of the same user:
// with a living head, and by the mark alone.
func BenchmarkMembers(b *testing.B) {
	crowd(b, 5000)
	for _, alive := range []bool{true, false} {
		ledger := filepath.Join(b.TempDir(), "ledger")
		head := perform(b, "head", ledger, "child", "group", "session", "orphan", "nest")
		want := len(head.expect(7))
		if !alive {
			if err := head.open().Kill(); err != nil {
				b.Fatal(err)
			}
			<-head.Done()
			want--
		}
		family, err := ReadFamily(ledger)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("head alive %v", alive), func(b *testing.B) {
			defer reportCPU(b)()
			for b.Loop() {
				if members, err := family.Members(); err != nil || len(members) != want {
					b.Fatalf("members are %v (%v), want %d", members, err, want)
				}
			}
		})
	}
}

// BenchmarkLook is what an agent pays for each look at its own children.
func BenchmarkLook(b *testing.B) {
	child := perform(b, "parent", "child", "group", "session", "nest")
	child.expect(6)
	c := Container{self: Info{Identity: child.Identity()}, family: Family{Head: child.Identity()}, members: map[Identity]member{}}
	defer reportCPU(b)()
	for b.Loop() {
		if found, err := c.find(); err != nil || len(found) != 5 {
			b.Fatalf("found %v (%v)", found, err)
		}
	}
}

// reportCPU adds what an operation costs on a machine that has nothing else to do.
func reportCPU(b *testing.B) func() {
	b.Helper()
	before := cpuTime(b)
	return func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") }
}

func cpuTime(b *testing.B) int64 {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func crowd(b *testing.B, n int) {
	b.Helper()
	for range n {
		cmd := exec.Command("sleep", "300")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}
