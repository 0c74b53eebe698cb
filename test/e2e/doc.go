// Package e2e owns the end-to-end tests, and has no code of its own: they run the real binary, which boots real VMs.
package e2e
