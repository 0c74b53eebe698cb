package login

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSystemdTakesTheUnits has systemd itself read them, which needs no systemd that runs.
func TestSystemdTakesTheUnits(t *testing.T) {
	dir := t.TempDir()
	spec := nasty()
	spec.ConfigHome = dir
	spec.Executable = filepath.Join(dir, "100% mine $rdd")
	if err := os.WriteFile(spec.Executable, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, file := range plans(t, spec)["systemd"].Files {
		if err := os.MkdirAll(filepath.Dir(file.Path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file.Path, []byte(file.Content), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, file.Path)
	}
	verify := exec.Command("systemd-analyze", append([]string{"verify", "--user", "--man=no"}, paths...)...)
	verify.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	if output, err := verify.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, output)
	}
}
