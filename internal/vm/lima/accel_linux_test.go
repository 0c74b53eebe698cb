package lima

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

func TestRunGuestTellsWhy(t *testing.T) {
	guest := guests["x86_64"]
	for script, want := range map[string]string{
		fmt.Sprintf("exit %d", guest.success):                         "",
		"echo 'cannot set MSR' >&2; exit 1":                           "cannot set MSR",
		"kill -ABRT $$":                                               "signal: aborted",
		"echo 'KVM internal error. Suberror: 1' >&2; exec sleep 1000": "Suberror: 1", // and nobody waits
		"exit 0": "exit status 0", // the guest did not run
	} {
		env := stub(t, script)
		program, err := lookPath(guest.program, env)
		if err != nil {
			t.Fatal(err)
		}
		output, err := runGuest(t.Context(), program, guest, env)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", script, err)
		case want != "" && (err == nil || !strings.Contains(output+err.Error(), want)):
			t.Errorf("%s: %q, %v", script, output, err)
		}
	}
}

// TestFirmwareIsAGuest runs the firmware on a CPU that works everywhere: emulated.
func TestFirmwareIsAGuest(t *testing.T) {
	guest := guests[limaArch()]
	program, err := lookPath(guest.program, os.Environ())
	if err != nil {
		t.Fatalf("this test needs %s: %v", guest.program, err)
	}
	env := append(os.Environ(), "REAL="+program)
	emulated := stub(t, `
for arg; do
	shift
	case $arg in kvm) arg=tcg ;; host) arg=max ;; esac
	set -- "$@" "$arg"
done
exec "$REAL" "$@"`)
	wrapper, err := lookPath(guest.program, emulated)
	if err != nil {
		t.Fatal(err)
	}
	if output, err := runGuest(t.Context(), wrapper, guest, env); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

func TestProbeLeavesChoicesAlone(t *testing.T) {
	for name, env := range map[string][]string{
		"the user's own command": append(stub(t, "exit 1"), "QEMU_SYSTEM_"+strings.ToUpper(limaArch())+"=my-qemu"),
	} {
		if reason := probe(t.Context(), limaArch(), env); reason != "" {
			t.Errorf("%s: %s", name, reason)
		}
	}
}

func TestAccelIsAskedOnce(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	a := newAccel(stub(t, "echo x >>"+count+"; echo broken >&2; exit 1"))
	native := &vm.Instance{VMType: "qemu", Arch: limaArch()}
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
		"unknown": nil, "another driver": {VMType: "wsl2", Arch: limaArch()}, "another architecture": {VMType: "qemu", Arch: "riscv64"},
	} {
		if reason := a.broken(t.Context(), instance); reason != "" {
			t.Errorf("%s: %s", name, reason)
		}
	}
}
