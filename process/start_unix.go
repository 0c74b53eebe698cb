//go:build linux || darwin

package process

import (
	"fmt"
	"os"
	"syscall"
)

func start(cmd Command) (*os.Process, error) {
	files, opened, err := stdio(cmd)
	if err != nil {
		return nil, err
	}
	defer closeAll(opened)
	return os.StartProcess(cmd.Path, argv(cmd), &os.ProcAttr{
		Dir:   cmd.Dir,
		Env:   environment(cmd),
		Files: append(files, cmd.ExtraFiles...),
		Sys:   attributes(cmd),
	})
}

func held(*os.Process) bool { return false }

func identifyChild(proc *os.Process) (Identity, error) {
	info, err := identify(proc.Pid)
	return info.Identity, err
}

// ExtraFile returns the i-th of the ExtraFiles that the caller's parent started it with. It may be called once for each, and
// only if the parent is known to have given that many.
func ExtraFile(i int) (*os.File, error) {
	fd := 3 + i
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot find inherited file %d: %w", i, err)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), fmt.Sprintf("inherited file %d", i)), nil
}
