package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
)

// extraFiles names the environment variable that tells a child of the files it inherits: PARENT:HANDLE,HANDLE…
const extraFiles = "PROCESS_EXTRA_FILES"

// start gives the child a process group of its own, and a console that it does not share with any window: closing a window
// ends all processes of its console, and so the equivalent of having no controlling terminal is a console without a window.
// If the caller has such a one already, the child shares it, which is what makes Interrupt work. And it takes the child out of
// the caller's jobs, which terminals, services and build tools put their children into, to end them together.
func start(cmd Command) (*os.Process, error) {
	files, opened, err := stdio(cmd)
	if err != nil {
		return nil, err
	}
	defer closeAll(opened)
	flags := creationFlags(console())
	sys := &syscall.SysProcAttr{CreationFlags: flags | windows.CREATE_BREAKAWAY_FROM_JOB, HideWindow: true}
	if len(cmd.ExtraFiles) > 0 {
		inherited, err := inheritable(cmd.ExtraFiles)
		defer closeHandles(inherited)
		if err != nil {
			return nil, err
		}
		sys.AdditionalInheritedHandles = inherited
		cmd.Env = append(environment(cmd), extraFiles+"="+announce(os.Getpid(), inherited))
	}
	attr := &os.ProcAttr{Dir: cmd.Dir, Env: environment(cmd), Files: files, Sys: sys}
	proc, err := os.StartProcess(cmd.Path, argv(cmd), attr)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) { // our job lets nobody go: that of our family does not
		sys.CreationFlags = flags
		proc, err = os.StartProcess(cmd.Path, argv(cmd), attr)
	}
	return proc, err
}

func held(proc *os.Process) bool {
	var in int32
	_ = proc.WithHandle(func(handle uintptr) {
		_, _, _ = kernel32("IsProcessInJob").Call(handle, 0, uintptr(pointer(&in)))
	})
	return in != 0
}

// console tells of the window of our console and of how many processes are attached to it; 0, 0 without a console.
func console() (window, attached uintptr) {
	window, _, _ = kernel32("GetConsoleWindow").Call()
	var pid uint32
	attached, _, _ = kernel32("GetConsoleProcessList").Call(uintptr(pointer(&pid)), 1)
	return window, attached
}

// creationFlags are those of a child: a group of its own, and our console only if there is one without a window.
func creationFlags(window, attached uintptr) uint32 {
	if window == 0 && attached > 0 {
		return windows.CREATE_NEW_PROCESS_GROUP
	}
	return windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW
}

func inheritable(files []*os.File) ([]syscall.Handle, error) {
	self := windows.CurrentProcess()
	var handles []syscall.Handle
	for _, f := range files {
		var duplicate windows.Handle
		err := windows.DuplicateHandle(self, windows.Handle(f.Fd()), self, &duplicate, 0, true, windows.DUPLICATE_SAME_ACCESS)
		if err != nil {
			return handles, fmt.Errorf("cannot let a child inherit %s: %w", f.Name(), err)
		}
		handles = append(handles, syscall.Handle(duplicate))
	}
	return handles, nil
}

func closeHandles(handles []syscall.Handle) {
	for _, h := range handles {
		_ = syscall.CloseHandle(h)
	}
}

func identifyChild(proc *os.Process) (id Identity, err error) {
	failed := proc.WithHandle(func(handle uintptr) {
		var info Info
		info, err = describeHandle(proc.Pid, windows.Handle(handle))
		id = info.Identity
	})
	return id, errors.Join(failed, err)
}

func announce(parent int, handles []syscall.Handle) string {
	list := make([]string, len(handles))
	for i, h := range handles {
		list[i] = strconv.FormatUint(uint64(h), 10)
	}
	return strconv.Itoa(parent) + ":" + strings.Join(list, ",")
}

// ExtraFile returns the i-th of the ExtraFiles that the caller's parent started it with. It may be called once for each, and
// only if the parent is known to have given that many.
func ExtraFile(i int) (*os.File, error) {
	parent, list, _ := strings.Cut(os.Getenv(extraFiles), ":")
	handles := strings.Split(list, ",")
	// A child of ours inherits the variable, but not the files.
	if parent != strconv.Itoa(os.Getppid()) || i < 0 || i >= len(handles) {
		return nil, fmt.Errorf("cannot find inherited file %d: %w", i, os.ErrNotExist)
	}
	handle, err := strconv.ParseUint(handles[i], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("cannot find inherited file %d: %w", i, err)
	}
	return os.NewFile(uintptr(handle), fmt.Sprintf("inherited file %d", i)), nil
}
