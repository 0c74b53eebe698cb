package login

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTheInterpreterTakesTheAction with a script for rdd that tells what it was given.
func TestTheInterpreterTakesTheAction(t *testing.T) {
	const script = "@echo \"%RDD_LOG_DIR%\" \"%RDD_KEEP_LOGS%\" %*\r\n"
	spec := nasty()
	spec.Executable = filepath.Join(t.TempDir(), "mine & (yours)^", "rdd.cmd")
	if err := os.Mkdir(filepath.Dir(spec.Executable), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(spec.Executable, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	logs, keep := `C:\100% mine & (yours)^\`, "yes | no"
	spec.Environ = []string{"RDD_LOG_DIR=" + logs, "RDD_KEEP_LOGS=" + keep}
	command, arguments, err := action(spec)
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command(strings.ReplaceAll(command, "%windir%", os.Getenv("windir")))
	run.SysProcAttr = &syscall.SysProcAttr{CmdLine: "cmd.exe " + arguments}
	said, err := run.CombinedOutput()
	want := fmt.Sprintf("\"%s\" \"%s\" --instance=dev-3 svc start\r\n", logs, keep)
	if string(said) != want || err != nil {
		t.Errorf("%s: %q, %v; want %q", arguments, said, err, want)
	}
}
