package lima

import (
	"context"
	"sync"

	"github.com/seed-192657fa/rdd/internal/probe"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// accel finds out, once for each daemon, whether hardware acceleration works here. Lima only looks whether /dev/kvm exists.
type accel struct {
	env []string

	once   sync.Once
	done   chan struct{}
	reason string

	mu   sync.Mutex
	told bool
}

func newAccel(env []string) *accel { return &accel{env: env, done: make(chan struct{})} }

// broken tells why acceleration does not work for an instance; empty when it works, or is nothing to be decided here.
func (a *accel) broken(ctx context.Context, instance *vm.Instance) string {
	if instance == nil || instance.VMType != "qemu" || !probe.HasKVM(instance.Arch) {
		return ""
	}
	a.once.Do(func() {
		go func() {
			defer close(a.done)
			a.reason = probe.KVM(context.WithoutCancel(ctx), instance.Arch, a.env)
		}()
	})
	select {
	case <-a.done:
		return a.reason
	case <-ctx.Done():
		return ""
	}
}

// tell is true once.
func (a *accel) tell() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.told
	a.told = true
	return first
}
