package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/registration"
	"github.com/seed-192657fa/rdd/process"
)

// registry is the control plane's side of the registration of controllers: it keeps the registry as it should be, and takes
// out of it who has died.
type registry struct {
	*registration.Registry
	log  *slog.Logger
	self process.Identity

	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	state   registration.State
	watched map[process.Identity]bool
	changed chan struct{} // closed, and replaced, at each change
}

func startRegistry(ctx context.Context, config *rest.Config, log *slog.Logger) (*registry, error) {
	self, err := process.Self()
	if err != nil {
		return nil, err
	}
	client, err := registration.New(config)
	if err != nil {
		return nil, err
	}
	if err := client.Reset(ctx); err != nil {
		return nil, err
	}
	r := &registry{
		Registry: client, log: log, self: self, watched: map[process.Identity]bool{}, changed: make(chan struct{}),
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	r.work.Go(func() {
		err := client.Follow(running, func(state registration.State) { r.saw(running, state) }, func() { r.restore(running) })
		if err != nil {
			log.Warn("who runs controllers is not followed", "error", err)
		}
	})
	return r, nil
}

func (r *registry) stop() {
	r.cancel()
	r.work.Wait()
}

// announce registers the controllers that run in the daemon itself, and with them all is ready; their health is that of the API.
func (r *registry) announce(ctx context.Context, address string) error {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	return r.RegisterOwn(ctx, group, registration.Entry{
		HealthPort: port, MetricsPort: port, EnabledControllers: []string{limavm.Name}, StartTime: time.Now(),
		HealthEndpoint: "https://" + address + "/readyz", MetricsEndpoint: "https://" + address + "/metrics",
		Process: r.self,
	})
}

func (r *registry) saw(ctx context.Context, state registration.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
	close(r.changed)
	r.changed = make(chan struct{})
	for name, entry := range state.Entries {
		if entry.Process == r.self || r.watched[entry.Process] {
			continue
		}
		r.watched[entry.Process] = true
		r.work.Go(func() { r.awaitEnd(ctx, name, entry.Process) })
	}
}

// awaitEnd takes a process out of the registry when it has ended without having done so itself.
func (r *registry) awaitEnd(ctx context.Context, name string, who process.Identity) {
	handle, err := process.Open(who)
	if err == nil {
		defer handle.Close()
		err = handle.Wait(ctx)
	}
	if ctx.Err() != nil || err != nil && !errors.Is(err, process.ErrGone) {
		return
	}
	if err := r.Unregister(ctx, name, who); err != nil && ctx.Err() == nil {
		r.log.Warn("a process that has ended is still registered", "group", name, "process", who, "error", err)
	}
}

// restore makes the registry again when somebody has deleted it.
func (r *registry) restore(ctx context.Context) {
	r.mu.Lock()
	state := r.state
	r.mu.Unlock()
	if err := r.Restore(ctx, state); err != nil && ctx.Err() == nil {
		r.log.Warn("the registry of controllers is missing", "error", err)
	}
}

// dismiss asks the controllers of VMs outside the daemon to shut these down, and waits until they have left. Others that are
// registered have no VMs, and end when they like.
func (r *registry) dismiss(ctx context.Context) error {
	if err := r.MarkStopping(ctx); err != nil {
		return err
	}
	for {
		r.mu.Lock()
		entry, there := r.state.Entries[group]
		changed := r.changed
		r.mu.Unlock()
		if !there || entry.Process == r.self {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the controllers outside, PID %d, have not shut down their VMs, which may still run; end them, and say \"rdd svc stop\" again: %w",
				entry.Process.PID, ctx.Err())
		}
	}
}
