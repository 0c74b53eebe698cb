//go:build linux || darwin

package process

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func sysProcAttr(way string) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: way == "group"}
}

func inherit(cmd *exec.Cmd, files ...*os.File) { cmd.ExtraFiles = files }

const killedStatus = "signal: killed"

func expectPrivate(t *testing.T, info os.FileInfo) {
	t.Helper()
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want that only the owner can read", info.Mode())
	}
}

func visible(ids []Identity) []Identity { return ids }
