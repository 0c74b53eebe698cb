package lima

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// probeTimeout bounds the probe. Where KVM works it takes a tenth of a second.
const probeTimeout = 5 * time.Second

// limaArch is Lima's word for what this program was built for.
func limaArch() string {
	return map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
}

func isNative(arch string) bool { return arch == limaArch() }

// A guest is a firmware of one thing to do: to end the machine in a way that only a CPU which runs it can.
type guest struct {
	program string
	args    []string
	image   func() []byte
	success int // exit code of QEMU
}

//nolint:gochecknoglobals // a constant table
var guests = map[string]guest{
	// At the reset vector: mov $0x2a,%al; out %al,$0xf4; hlt. The exit code is 0x2a·2+1.
	"x86_64": {
		program: "qemu-system-x86_64", success: 85,
		args: []string{"-M", "q35", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"},
		image: func() []byte {
			image := make([]byte, 64<<10)
			copy(image[len(image)-16:], []byte{0xb0, 0x2a, 0xe6, 0xf4, 0xf4})
			return image
		},
	},
	// At address zero: PSCI SYSTEM_OFF. mov w0,#8; movk w0,#0x8400,lsl #16; hvc #0.
	"aarch64": {
		program: "qemu-system-aarch64", success: 0,
		args: []string{"-M", "virt"},
		image: func() []byte {
			return []byte{0x00, 0x01, 0x80, 0x52, 0x00, 0x80, 0xb0, 0x72, 0x02, 0x00, 0x00, 0xd4}
		},
	},
}

// probe runs a guest of a few instructions with exactly what Lima would use, KVM and the host's CPU, and tells why that
// does not work. KVM can be there and fail only when a guest runs: nested virtualisation, MSRs that the host refuses.
func probe(ctx context.Context, arch string, env []string) string {
	guest := guests[arch]
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "QEMU_SYSTEM_"+strings.ToUpper(arch)+"="); ok && value != "" {
			return "" // the user has chosen what to run
		}
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "KVM is not there: " + err.Error() // Lima would see that too; so it is told the same way
	}
	program, err := lookPath(guest.program, env)
	if err != nil {
		return "" // the start fails, and says what is missing
	}
	output, err := runGuest(ctx, program, guest, env)
	if err == nil {
		return ""
	}
	if text := firstLine(output); text != "" {
		err = errors.New(text)
	}
	return fmt.Sprintf("KVM does not work here: %v", err)
}

func runGuest(ctx context.Context, program string, guest guest, env []string) (output string, err error) {
	dir, err := os.MkdirTemp("", "rdd-kvm-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	firmware, log := filepath.Join(dir, "firmware"), filepath.Join(dir, "log")
	if err := os.WriteFile(firmware, guest.image(), 0o600); err != nil {
		return "", err
	}
	stderr, err := os.Create(log)
	if err != nil {
		return "", err
	}
	defer stderr.Close()
	child, err := process.Start(process.Command{
		Path: program, Env: env, Stderr: stderr,
		Args: append([]string{program, "-accel", "kvm", "-cpu", "host", "-m", "16", "-display", "none", "-nodefaults", "-no-user-config",
			"-no-reboot", "-bios", firmware}, guest.args...),
	})
	if err != nil {
		return "", err
	}
	timeout := time.NewTimer(probeTimeout)
	defer timeout.Stop()
	select {
	case <-child.Done():
	case <-timeout.C:
		ctx, cancel := context.WithTimeout(ctx, killTimeout)
		defer cancel()
		return "", errors.Join(fmt.Errorf("a guest hung for %v", probeTimeout), process.KillTree(ctx, child.Identity()))
	}
	if child.ExitCode() == guest.success {
		return "", nil
	}
	text, _ := readStart(log)
	return text, fmt.Errorf("%s: %s", filepath.Base(program), child.ExitStatus())
}

func readStart(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	return string(text), err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// lookPath searches in the PATH of the children, not in our own.
func lookPath(program string, env []string) (string, error) {
	for _, entry := range env {
		if path, ok := strings.CutPrefix(entry, "PATH="); ok {
			for _, dir := range filepath.SplitList(path) {
				if full, err := exec.LookPath(filepath.Join(dir, program)); err == nil && filepath.IsAbs(full) {
					return full, nil
				}
			}
		}
	}
	return "", exec.ErrNotFound
}
