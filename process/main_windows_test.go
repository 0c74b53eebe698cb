// The tests for Windows run on Windows, and under Wine by `make test-wine`. Wine cannot show that
//   - Interrupt ends a process: it delivers no CTRL_BREAK to another group. Whom it would reach is tested by a table.
//   - agents can be asked: it has no AF_UNIX sockets. This package uses none.
//   - a PID is kept from others while a handle is open, and a process in dying denies access: it rarely reuses PIDs.
package process

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

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
