package process

import "syscall"

func attributes(cmd Command) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true}
	if cmd.WithThread {
		attributes.Pdeathsig = syscall.SIGKILL
	}
	return attributes
}
