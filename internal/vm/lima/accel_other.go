//go:build !linux

package lima

import "context"

// isNative is false where there is no KVM, so that nothing is probed: Lima's choice holds.
func isNative(string) bool { return false }

func probe(context.Context, string, []string) string { return "" }
