//go:build !linux

package probe

import "context"

// HasKVM is false where there is no KVM, so that nothing is probed: Lima's choice holds.
func HasKVM(string) bool { return false }

// KVM has nothing to tell.
func KVM(context.Context, string, []string) string { return "" }
