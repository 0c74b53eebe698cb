//go:build !linux

package faults

// beInit is for PID namespaces, which are Linux's.
func beInit([]string) int { return 1 }
