package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// decapitated is the role of a process whose first thread, whose number is the PID, ends, and no other.
const decapitated = "decapitated"

// A goroutine that is tied to its thread while packages are initialised stays on the first one.
func init() { //nolint:gochecknoinits // later is too late
	if os.Getenv(roleVariable) == decapitated {
		runtime.LockOSThread()
	}
}

// playMore knows the roles that only make sense on Linux.
func playMore(c *cast, role string, args []string) int {
	switch role {
	case "renamed":
		must(os.WriteFile("/proc/self/comm", []byte(args[0]), 0))
	case decapitated:
		c.report("ready")
		_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	case "stranger in the house":
		return keepOwnChildren(args[0])
	case "recycler":
		return recycle(c)
	}
	c.report("ready")
	return c.wait()
}

// keepOwnChildren is a head that starts children through os/exec, and gets their exit statuses however much it looks.
func keepOwnChildren(ledger string) int {
	container, err := Contain(ledger)
	must(err)
	go func() {
		for {
			_, err := container.Look()
			must(err)
		}
	}()
	path, err := os.Executable()
	must(err)
	for range 100 {
		cmd := exec.Command("/bin/sh", "-c", "exit 3")
		must(cmd.Start())
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
			must(fmt.Errorf("the child of %s ended with %v", path, cmd.ProcessState))
		}
	}
	return 0
}
