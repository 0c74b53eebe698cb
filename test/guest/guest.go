// Package guest owns the virtual machine that the tests and the benchmarks boot: a small Linux guest, built from the
// distribution's packages by the script build and cached, which is ready within ten seconds without KVM.
package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Guest is a built guest.
type Guest struct {
	// Dir holds vmlinux, initrd, rootfs.img and the templates. It is shared: nothing may be changed in it.
	Dir string
}

// Build builds the guest unless the cache has it, and returns it. It may run any number of times at once.
func Build(ctx context.Context) (Guest, error) {
	script, err := script()
	if err != nil {
		return Guest{}, err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, script)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return Guest{}, fmt.Errorf("cannot build the guest: %w\n%s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return Guest{Dir: string(bytes.TrimSpace(out))}, nil
}

// Template returns a complete Lima template: the whole guest, with Lima's guest agent.
func (g Guest) Template() ([]byte, error) { return os.ReadFile(filepath.Join(g.Dir, "guest.yaml")) }

// Plain returns the template in Lima's plain mode: no guest agent, no dynamic port forwarding; up to a second faster.
func (g Guest) Plain() ([]byte, error) { return os.ReadFile(filepath.Join(g.Dir, "guest-plain.yaml")) }

// Env returns the environment variable that makes QEMU emulate, whatever Lima finds: rdd sees for itself whether KVM works, Lima
// alone does not.
func Env() []string {
	return []string{"QEMU_SYSTEM_X86_64=qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512"}
}

// Template returns the template of the guest, built if need be.
func Template(t testing.TB) []byte { return template(t, Guest.Template) }

// PlainTemplate returns the template of the guest in plain mode, built if need be.
func PlainTemplate(t testing.TB) []byte { return template(t, Guest.Plain) }

func template(t testing.TB, read func(Guest) ([]byte, error)) []byte {
	t.Helper()
	g, err := Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := read(g)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// script finds test/guest/build from wherever in the repository the caller runs: tests run in their package's directory.
func script() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		script := filepath.Join(dir, "test", "guest", "build")
		if _, err := os.Stat(script); err == nil {
			return script, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("cannot find test/guest/build: not in rdd's repository")
		}
		dir = filepath.Dir(dir)
	}
}
