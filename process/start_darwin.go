package process

import "syscall"

// attributes: macOS has no signal for the death of a parent.
func attributes(Command) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
