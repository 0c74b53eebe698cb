package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/seed-192657fa/rdd/internal/probe"
)

// programTime bounds a program that is asked for its version.
const programTime = 10 * time.Second

// qemuRefused and qemuOld are the major versions below which Lima refuses QEMU, and warns of it.
const qemuRefused, qemuOld = 4, 7

func platformChecks() []check { return []check{{"QEMU", checkQEMU}, {"KVM", checkKVM}} }

func checkQEMU(ctx context.Context, cfg Config) []Finding {
	system := packages{debian: "qemu-system-x86", fedora: "qemu-system-x86"}
	if probe.Arch() == "aarch64" {
		system = packages{debian: "qemu-system-arm", fedora: "qemu-system-aarch64"}
	}
	var missing []Finding
	for _, needed := range []struct {
		program string
		packages
	}{
		{"qemu-system-" + probe.Arch(), system}, {"qemu-img", packages{debian: "qemu-utils", fedora: "qemu-img"}},
	} {
		if _, err := probe.LookPath(needed.program, cfg.Env); err != nil {
			missing = append(missing, Finding{Status: Broken, Message: needed.program + " is not installed", Remedy: needed.install(cfg.Env)})
		}
	}
	if missing != nil {
		return missing
	}
	program, _ := probe.LookPath("qemu-system-"+probe.Arch(), cfg.Env)
	result, err := probe.Run(ctx, programTime, cfg.Env, program, "--version")
	major, version := qemuVersion(result.Output)
	switch {
	case err != nil:
		return []Finding{{Status: Broken, Message: fmt.Sprintf("QEMU does not run: %v", err), Remedy: system.install(cfg.Env)}}
	case result.ExitCode != 0 || version == "":
		return []Finding{{Status: Broken, Message: "QEMU does not tell its version: " + probe.FirstLine(result.Output), Remedy: system.install(cfg.Env)}}
	case major < qemuRefused:
		return []Finding{{Status: Broken, Message: "QEMU " + version + " is too old", Remedy: system.install(cfg.Env)}}
	case major < qemuOld:
		return []Finding{{Status: Warning, Message: "QEMU " + version + " is old", Remedy: system.install(cfg.Env)}}
	}
	return ok("QEMU " + version)
}

func qemuVersion(text string) (major int, version string) {
	match := regexp.MustCompile(`version (([0-9]+)\.[0-9.]+)`).FindStringSubmatch(text)
	if match == nil {
		return 0, ""
	}
	major, err := strconv.Atoi(match[2])
	if err != nil {
		return 0, ""
	}
	return major, match[1]
}

// checkKVM runs a guest: a device node alone proves nothing. Without KVM VMs run, slowly.
func checkKVM(ctx context.Context, cfg Config) []Finding {
	if _, err := probe.LookPath("qemu-system-"+probe.Arch(), cfg.Env); err != nil {
		return []Finding{{Status: Warning, Message: "cannot be tried without QEMU", Remedy: "install QEMU first"}}
	}
	reason := probe.KVM(ctx, probe.Arch(), cfg.Env)
	if reason == "" {
		return ok("KVM runs a guest")
	}
	remedy := "enable virtualization in the firmware or, in a VM, nested virtualization"
	if file, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); errors.Is(err, fs.ErrPermission) {
		remedy = "sudo usermod -aG kvm \"$USER\", then log in again"
	} else if err == nil {
		file.Close()
	}
	return []Finding{{Status: Warning, Message: reason + "; VMs run, but slowly", Remedy: remedy}}
}
