// The tests for Windows run on Windows, and under Wine by `make test-wine`. Wine cannot show that
//   - Interrupt ends a process: it delivers no CTRL_BREAK to another group. Whom it would reach is tested by a table.
//   - agents can be asked: it has no AF_UNIX sockets. This package uses none.
//   - a process ends while it is starting another: between its server calls new_process and new_thread that leaves an object
//     that holds the child's inherited handles and is on no list; and if the child is ended before it has sent its first file
//     (receive_fd), the server crashes. A birth between look and act is tested by a hook instead.
//   - a PID is kept from others while a handle is open, and a process in dying denies access: it rarely reuses PIDs.
package process

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

func sysProcAttr(way string) *syscall.SysProcAttr {
	if way == "group" {
		return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	}
	return &syscall.SysProcAttr{}
}

func inherit(cmd *exec.Cmd, files ...*os.File) {
	handles, err := inheritable(files)
	must(err)
	cmd.SysProcAttr.AdditionalInheritedHandles = handles
	cmd.Env = append(cmd.Env, extraFiles+"="+announce(os.Getpid(), handles))
}

// playMore knows the roles that only make sense on Windows.
func playMore(c *cast, role string, args []string) int {
	switch role {
	case "closed":
		must(denyEverybody())
	case "in a job": // starts a child that may, or may not, leave the job
		must(enterJob(args[0] == "open"))
		path, err := os.Executable()
		must(err)
		child, err := Start(Command{
			Path: path, Env: append(os.Environ(), roleVariable+"=idle"), Stdout: os.Stdout, Stderr: os.Stderr,
			ExtraFiles: []*os.File{c.rope, c.proof},
		})
		must(err)
		if child.Held() == (args[0] == "open") {
			must(fmt.Errorf("Held says %v", child.Held()))
		}
	}
	c.report("ready")
	return c.wait()
}

// enterJob puts this process into a job that ends with it.
func enterJob(open bool) error {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return err
	}
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if open {
		limits.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK
	}
	if _, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(pointer(&limits)), uint32(unsafe.Sizeof(limits))); err != nil {
		return err
	}
	return windows.AssignProcessToJobObject(job, windows.CurrentProcess())
}

// denyEverybody lets nobody open this process any more.
func denyEverybody() error {
	everybody, err := windows.CreateWellKnownSid(windows.WinWorldSid)
	if err != nil {
		return err
	}
	acl, err := windows.ACLFromEntries([]windows.EXPLICIT_ACCESS{{
		AccessPermissions: windows.GENERIC_ALL, AccessMode: windows.DENY_ACCESS,
		Trustee: windows.TRUSTEE{
			TrusteeForm: windows.TRUSTEE_IS_SID, TrusteeType: windows.TRUSTEE_IS_WELL_KNOWN_GROUP,
			TrusteeValue: windows.TrusteeValueFromSID(everybody),
		},
	}}, nil)
	if err != nil {
		return err
	}
	return windows.SetSecurityInfo(windows.CurrentProcess(), windows.SE_KERNEL_OBJECT, windows.DACL_SECURITY_INFORMATION,
		nil, nil, acl, nil)
}

const killedStatus = "exit status 1"

// expectPrivate leaves it to the directory.
func expectPrivate(*testing.T, os.FileInfo) {}

// visible leaves out the console that Windows starts for a process that needs one.
func visible(ids []Identity) []Identity {
	return slices.DeleteFunc(ids, func(id Identity) bool {
		info, err := Describe(id.PID)
		return err == nil && info.Name == "conhost"
	})
}
