package main

import "runtime"

// An agent may show the window of its VM, and macOS ends a process that does so from any other thread than its first. Go promises that
// thread to main only if it is asked for before main begins. It costs a change of threads wherever main itself waits, and whatever
// other goroutines do costs nothing.
func init() { //nolint:gochecknoinits // later is too late
	runtime.LockOSThread()
}
