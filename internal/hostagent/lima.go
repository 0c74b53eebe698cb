package hostagent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"

	"github.com/lima-vm/lima/v2/pkg/driver/qemu"
	"github.com/lima-vm/lima/v2/pkg/limatype"
	"github.com/lima-vm/lima/v2/pkg/limayaml"
	"github.com/lima-vm/lima/v2/pkg/version"
	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/internal/vm"
)

// setUpLima prepares Lima's globals, as limactl's main does. It may only be called in a child.
func setUpLima() {
	logrus.SetOutput(os.Stderr)
	logrus.SetFormatter(new(logrus.JSONFormatter))
	logrus.SetLevel(logrus.DebugLevel)
	// The library does not know its version unless a linker flag tells; templates may ask for a minimum.
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/lima-vm/lima/v2" {
				version.Version = strings.TrimPrefix(dep.Version, "v")
			}
		}
	}
}

// checkTools fails with the name of the package when a program is missing that the VM needs: Lima's own errors come late
// and do not name it.
func checkTools(inst *limatype.Instance) error {
	if os.Getenv("SSH") == "" {
		if _, err := exec.LookPath("ssh"); err != nil {
			return errors.New("ssh is not installed: install the package openssh-client (Debian, Ubuntu) or openssh-clients (Fedora)")
		}
	}
	if inst.VMType != limatype.QEMU {
		return nil
	}
	if _, _, err := qemu.Exe(inst.Arch); err != nil {
		pkg := map[limatype.Arch]string{limatype.X8664: "qemu-system-x86", limatype.AARCH64: "qemu-system-arm"}[inst.Arch]
		if pkg == "" {
			pkg = "qemu-system-misc"
		}
		return fmt.Errorf("QEMU for %s is not installed: install the package %s (Debian, Ubuntu) or qemu (elsewhere): %w", inst.Arch, pkg, err)
	}
	if _, err := exec.LookPath("qemu-img"); err != nil {
		return errors.New("qemu-img is not installed: install the package qemu-utils (Debian, Ubuntu), qemu-img (Fedora) or qemu (elsewhere)")
	}
	return nil
}

// emulate makes Lima run QEMU without hardware acceleration, for guests of this machine's own architecture: Lima looks at
// /dev/kvm only, and asks for KVM and the host's CPU also where they cannot run a guest. The variable is the one way in.
func emulate(inst *limatype.Instance) error {
	if inst.VMType != limatype.QEMU || !limatype.IsNativeArch(inst.Arch) {
		return nil
	}
	var program, variable, machine, cpu string
	switch inst.Arch {
	case limatype.X8664:
		program, variable, cpu = "qemu-system-x86_64", "QEMU_SYSTEM_X86_64", "max"
		machine = "-machine q35,vmport=off -accel tcg,thread=multi,tb-size=512" // as Lima does where there is no /dev/kvm
	case limatype.AARCH64:
		program, variable, cpu = "qemu-system-aarch64", "QEMU_SYSTEM_AARCH64", "max"
		machine = "-machine virt -accel tcg,thread=multi,tb-size=512"
	default:
		return nil
	}
	if os.Getenv(variable) != "" {
		return nil // the user knows better
	}
	var opts limatype.QEMUOpts
	if err := limayaml.Convert(inst.Config.VMOpts[limatype.QEMU], &opts, "vmOpts.qemu"); err != nil {
		return fmt.Errorf("cannot read vmOpts.qemu: %w", err)
	}
	if opts.CPUType[inst.Arch] == "" && inst.Config.CPUType[inst.Arch] == "" { //nolint:staticcheck // templates still use it
		machine += " -cpu " + cpu
	}
	return os.Setenv(variable, program+" "+machine)
}

// describe is what rdd wants to know of an instance.
func describe(inst *limatype.Instance) *vm.Instance {
	return &vm.Instance{
		Directory: inst.Dir, VMType: inst.VMType, Arch: inst.Arch,
		CPUs: inst.CPUs, Memory: inst.Memory, Disk: inst.Disk,
	}
}

// oneLine makes one line of an error: Lima's may have several, and conditions and terminals want one.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
