package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-192657fa/rdd/process"
)

// kvmTimeout bounds the probe. Where KVM works it takes a tenth of a second.
const kvmTimeout = 5 * time.Second

// Arch is Lima's word for what this program was built for.
func Arch() string {
	return map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
}

// HasKVM tells whether VMs of an architecture are run by KVM, where that works.
func HasKVM(arch string) bool { return arch == Arch() }

// A guest is a firmware with one thing to do: to end the machine in a way that only a CPU which runs it can.
type guest struct {
	program string
	args    []string
	image   func() []byte
	success int // exit code of QEMU
}

//nolint:gochecknoglobals // a constant table
var guests = map[string]guest{
	"x86_64": {
		program: "qemu-system-x86_64", success: 85, // 0x2a·2+1
		args:  []string{"-M", "q35", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"},
		image: x86Firmware,
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

// x86Firmware goes from the reset vector to where a kernel of 64 bits lives, and executes what such kernels do all the time and
// an interpreter of instructions does not know: KVM without hardware support for the guest's page tables (kvm_pvm, some nested
// hypervisors) runs firmware, and even the first seconds of a kernel, by interpreting them, and gives up at LOCK CMPXCHG16B.
func x86Firmware() []byte {
	const size = 64 << 10
	image := make([]byte, size)
	copy(image[size-0x100:], []byte{ // mapped at 0xfff00, and below 4 GiB
		0xfa,                                     // cli
		0x2e, 0x66, 0x0f, 0x01, 0x16, 0xa9, 0xff, // lgdt  cs:[0xffa9]
		0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, // mov eax,cr0; or al,1; mov cr0,eax
		0x66, 0xea, 0x18, 0xff, 0x0f, 0x00, 0x08, 0x00, // jmp   8:0xfff18, 32 bits
		0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xd0, // mov eax,16; mov ds,eax; mov ss,eax
		0xc7, 0x05, 0x00, 0x10, 0, 0, 0x03, 0x20, 0, 0, // page tables: 0x1000 → 0x2000 → 0x3000 → 2 MiB at 0
		0xc7, 0x05, 0x00, 0x20, 0, 0, 0x03, 0x30, 0, 0,
		0xc7, 0x05, 0x00, 0x30, 0, 0, 0x83, 0x00, 0, 0,
		0xb8, 0x00, 0x10, 0, 0, 0x0f, 0x22, 0xd8, // mov eax,0x1000; mov cr3,eax
		0xb8, 0x20, 0, 0, 0, 0x0f, 0x22, 0xe0, // mov eax,PAE; mov cr4,eax
		0xb9, 0x80, 0, 0, 0xc0, 0x31, 0xd2, 0xb8, 0, 1, 0, 0, 0x0f, 0x30, // EFER: long mode
		0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0, // CR0: paging
		0xea, 0x6f, 0xff, 0x0f, 0x00, 0x18, 0x00, // jmp   24:0xfff6f, 64 bits
		0xbf, 0x00, 0x80, 0, 0, // mov   edi,0x8000
		0x31, 0xc0, 0x31, 0xd2, 0x31, 0xc9, // xor eax,eax; xor edx,edx; xor ecx,ecx
		0xbb, 0x2a, 0, 0, 0, // mov   ebx,0x2a
		0xf0, 0x48, 0x0f, 0xc7, 0x0f, // lock cmpxchg16b [rdi]
		0x8a, 0x07, 0xe6, 0xf4, 0xf4, // mov al,[rdi]; out 0xf4,al; hlt
		0, 0, 0, 0, 0, 0, 0, 0, // descriptors: none, code of 32 bits, data, code of 64 bits
		0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0,
		0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0,
		0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0,
		0x1f, 0, 0x89, 0xff, 0x0f, 0, // their limit and their place
	})
	copy(image[size-16:], []byte{0xe9, 0x0d, 0xff}) // the reset vector: jmp 0xff00
	return image
}

// KVM runs a guest of a few instructions with exactly what Lima would use, KVM and the host's CPU, and tells why that
// does not work; empty when it works, or cannot be told. KVM can be there and fail only when a guest runs: nested
// virtualisation, MSRs that the host refuses.
func KVM(ctx context.Context, arch string, env []string) string {
	guest := guests[arch]
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "QEMU_SYSTEM_"+strings.ToUpper(arch)+"="); ok && value != "" {
			return "" // the user has chosen what to run
		}
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "KVM is not there: " + err.Error() // Lima would see that too; so it is told the same way
	}
	program, err := LookPath(guest.program, env)
	if err != nil {
		return "" // the start fails, and says what is missing
	}
	output, err := runGuest(ctx, program, guest, env)
	if err == nil {
		return ""
	}
	if text := FirstLine(output); text != "" {
		err = errors.New(text)
	}
	return fmt.Sprintf("KVM does not work here: %v", err)
}

func runGuest(ctx context.Context, program string, guest guest, env []string) (output string, err error) {
	// A daemon that dies during the probe leaves neither a file nor a QEMU behind, which would be halted for ever.
	firmware, err := inMemory(guest.image())
	if err != nil {
		return "", err
	}
	defer firmware.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	reader, stderr, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer reader.Close()
	child, err := process.Start(process.Command{
		Path: program, Env: env, Stderr: stderr, ExtraFiles: []*os.File{firmware}, WithThread: true,
		Args: append([]string{program, "-accel", "kvm", "-cpu", "host", "-m", "16", "-display", "none", "-nodefaults", "-no-user-config",
			"-no-reboot", "-bios", "/dev/fd/3"}, guest.args...),
	})
	_ = stderr.Close()
	if err != nil {
		return "", err
	}
	said, gaveUp := make(chan string, 1), make(chan struct{})
	go func() { said <- listen(reader, gaveUp) }()
	timeout := time.NewTimer(kvmTimeout)
	defer timeout.Stop()
	select {
	case <-child.Done():
		err = fmt.Errorf("%s: %s", filepath.Base(program), child.ExitStatus())
	case <-gaveUp:
		err = errors.New("KVM gave a guest up")
	case <-timeout.C:
		err = fmt.Errorf("a guest hung for %v", kvmTimeout)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	if killed := process.KillTree(ctx, child.Identity()); killed != nil {
		return "", errors.Join(err, killed)
	}
	if child.ExitCode() == guest.success {
		return "", nil
	}
	return <-said, err
}

// inMemory returns a file that is in no directory.
func inMemory(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("firmware", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "firmware")
	if _, err := file.Write(content); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// listen returns the beginning of what a guest's QEMU says. After an error of KVM's, QEMU keeps the guest halted for a debugger:
// gaveUp is closed, so that nobody waits for it.
func listen(reader io.Reader, gaveUp chan<- struct{}) string {
	var text strings.Builder
	lines := bufio.NewScanner(reader)
	for lines.Scan() {
		if text.Len() < 4096 {
			text.WriteString(lines.Text() + "\n")
		}
		if strings.HasPrefix(lines.Text(), "KVM internal error") && gaveUp != nil {
			close(gaveUp)
			gaveUp = nil
		}
	}
	return text.String()
}
