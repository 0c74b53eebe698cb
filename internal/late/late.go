// Package late owns when Kubernetes does what it would do while its packages are initialised, and what few processes need: the
// control plane, controllers outside it, and kubectl; other commands and agents of VMs never.
//
// The packages below this one replace variables of Kubernetes' packages. Only cmd/rdd imports them, so that tests find everything
// done. Go initialises packages that are ready in the order of their paths, so that they come before those whose work they put off
// (docs/decisions/0008-before-main.md).
package late

import "sync"

//nolint:gochecknoglobals // before main is the point
var (
	release  sync.Once
	mu       sync.Mutex // of what follows
	released bool
	held     []func()
)

// Do keeps a call until Release, and makes it at once after that.
func Do(call func()) {
	if !keep(call) {
		call()
	}
}

func keep(call func()) bool {
	mu.Lock()
	defer mu.Unlock()
	if !released {
		held = append(held, call)
	}
	return !released
}

// Release makes the calls that were put off, in their order, and returns when they have been made, whoever made them. Whatever deals
// with objects of Kubernetes, or serves metrics, begins with it.
func Release() {
	release.Do(func() {
		for _, call := range take() {
			call()
		}
	})
}

func take() []func() {
	mu.Lock()
	defer mu.Unlock()
	calls := held
	released, held = true, nil
	return calls
}
