package lima

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogTail(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	write := func(text string) {
		if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if lines, last := logTail(log); lines != nil || last != "" {
		t.Errorf("of no log: %q, %q", lines, last)
	}
	write(strings.Join([]string{
		`{"level":"debug","msg":"noise"}`,
		`{"level":"info","msg":"Starting QEMU"}`,
		`{"level":"warning","msg":"slow","error":"very\n slow"}`,
		`{"level":"debug","msg":"qemu[stderr]: WARNING: Image format was not specified"}`,
		`{"level":"debug","msg":"qemu[stderr]: qemu-system-x86_64: Invalid SMP CPUs 100000"}`,
		`{"level":"fatal","msg":"QEMU is too old"}`,
		``,
		`panic: runtime error`,
	}, "\n"))
	lines, last := logTail(log)
	if got := strings.Join(lines, "|"); got != "Starting QEMU|warning: slow: very slow|qemu-system-x86_64: Invalid SMP CPUs 100000|fatal: QEMU is too old|panic: runtime error" {
		t.Errorf("lines %s", got)
	}
	if last != "fatal: QEMU is too old" {
		t.Errorf("last error %q", last)
	}
	var long strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&long, "line %d\n", i)
	}
	write(long.String())
	if lines, _ = logTail(log); len(lines) != tailLines || lines[tailLines-1] != "line 4999" {
		t.Errorf("of a long log: %q", lines)
	}
}
