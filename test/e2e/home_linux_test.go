package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestWithoutAHome: Lima's packages panic before main where no home directory, or no user, can be told.
// That takes the real binary: with cgo, as with the race detector, the system's library looks for the user.
func TestWithoutAHome(t *testing.T) {
	run := func(stranger bool, args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = []string{}
		if stranger { // who has no entry in /etc/passwd
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{
				{ContainerID: 47110815, HostID: os.Getuid(), Size: 1},
			}}
		}
		said, _ := cmd.CombinedOutput()
		return string(said), cmd.ProcessState.ExitCode()
	}
	for _, stranger := range []bool{false, true} {
		if said, code := run(stranger, "--quiet", "version"); code != 0 || !strings.HasPrefix(said, "rdd ") || strings.Count(said, "\n") != 1 {
			t.Errorf("stranger: %t: exit code %d, %s", stranger, code, said)
		}
	}
	if said, code := run(true, "svc", "paths"); code != 2 || strings.Count(said, "\n") != 1 || !strings.Contains(said, "set HOME") {
		t.Errorf("exit code %d, %s", code, said)
	}
}
