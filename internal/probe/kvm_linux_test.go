package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		program, err := LookPath(guest.program, env)
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
	guest := guests[Arch()]
	program, err := LookPath(guest.program, os.Environ())
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
	wrapper, err := LookPath(guest.program, emulated)
	if err != nil {
		t.Fatal(err)
	}
	if output, err := runGuest(t.Context(), wrapper, guest, env); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

func TestProbeLeavesChoicesAlone(t *testing.T) {
	for name, env := range map[string][]string{
		"the user's own command": append(stub(t, "exit 1"), "QEMU_SYSTEM_"+strings.ToUpper(Arch())+"=my-qemu"),
	} {
		if reason := KVM(t.Context(), Arch(), env); reason != "" {
			t.Errorf("%s: %s", name, reason)
		}
	}
}
