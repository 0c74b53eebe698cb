package lima

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-192657fa/rdd/internal/probe"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// stub puts a program in place of QEMU that does as script says, and returns the environment to find it in.
func stub(t *testing.T, script string) []string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"qemu-system-x86_64", "qemu-system-aarch64"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"PATH=" + dir + ":/usr/bin:/bin"}
}

func TestAccelIsAskedOnce(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	a := newAccel(stub(t, "echo x >>"+count+"; echo broken >&2; exit 1"))
	native := &vm.Instance{VMType: "qemu", Arch: probe.Arch()}
	for range 3 {
		if reason := a.broken(t.Context(), native); reason == "" {
			t.Error("it is not broken")
		}
	}
	if text, err := os.ReadFile(count); err == nil && len(text) > 2 { // without /dev/kvm, nothing is run at all
		t.Errorf("it was run %d times", len(text)/2)
	}
	if !a.tell() || a.tell() {
		t.Error("it is not told exactly once")
	}
	for name, instance := range map[string]*vm.Instance{
		"unknown": nil, "another driver": {VMType: "wsl2", Arch: probe.Arch()}, "another architecture": {VMType: "qemu", Arch: "riscv64"},
	} {
		if reason := a.broken(t.Context(), instance); reason != "" {
			t.Errorf("%s: %s", name, reason)
		}
	}
}
