package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/client-go/rest"

	"github.com/seed-192657fa/rdd/config/crd"
	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/controlplane"
	"github.com/seed-192657fa/rdd/internal/logging"
	"github.com/seed-192657fa/rdd/internal/registration"
	"github.com/seed-192657fa/rdd/internal/template"
	"github.com/seed-192657fa/rdd/internal/vm"
)

const (
	// defaultGrace is that of a VM whose object does not say, or cannot be read.
	defaultGrace = 30 * time.Second
	// forceTime is what ending a VM by force takes at most, after its grace.
	forceTime = 20 * time.Second
	// partTime is what a part that holds no VM may take to stop.
	partTime = 15 * time.Second
	// askTime bounds a question to our own API.
	askTime = 5 * time.Second
)

// composition is everything that a daemon consists of, made in order as its parts start.
type composition struct {
	cfg Config
	// listener is where the API is served.
	listener net.Listener
	server   *controlplane.Server
	metrics  *limavm.Metrics
	// registry tells who runs controllers.
	registry *registry
	changes  *limavm.Changes
	// driver is nil where the controllers of VMs run outside the daemon, or nowhere.
	driver vm.Driver
	admit  *limavm.Admission
	// graces are those of the VMs' specs, by name, from when the daemon was asked to end.
	graces map[string]time.Duration
	// endManager ends the controllers; they have ended when managed is closed.
	endManager context.CancelFunc
	managed    chan struct{}
}

// list is the order of things. Stopped in reverse: the VMs first, while the controllers still report how that goes; then the
// controllers, the driver, and the control plane that they all talk to.
func (c *composition) list() []part {
	return []part{
		{name: "the control plane", start: c.startServer, stop: c.stopServer, deadline: within(partTime)},
		{name: "the registry of controllers", start: c.startRegistry, stop: c.stopRegistry, deadline: within(partTime)},
		{name: "the driver", start: c.startDriver, stop: c.stopDriver, deadline: within(partTime)},
		{name: "the controllers", start: c.startControllers, stop: c.stopControllers, deadline: within(partTime)},
		{name: "the VMs", start: c.startVMs, stop: c.stopVMs, deadline: c.drainTime},
	}
}

func (c *composition) startServer(ctx context.Context) (<-chan error, error) {
	crds, err := crd.All()
	if err != nil {
		return nil, err
	}
	templates := limavm.Templates{Validate: template.Validate, MergeParams: template.MergeParams}
	c.admit, err = limavm.NewAdmission(limavm.AdmissionConfig{
		Templates: templates, MaxNameLength: c.cfg.Instance.MaxVMNameLength(),
	})
	if err != nil {
		return nil, err
	}
	inst := c.cfg.Instance
	c.metrics = limavm.NewMetrics()
	c.server, err = controlplane.Start(ctx, controlplane.Config{
		Store: inst.StoreFile(), TLSDir: inst.TLSDir(), Kubeconfig: inst.Kubeconfig(), Listener: c.listener,
		DatastoreEndpoint: c.cfg.Settings.DatastoreEndpoint,
		CRDs:              crds,
		Admission:         []controlplane.Admission{c.admit},
		Version:           c.cfg.Version,
		Metrics:           c.metrics,
		Log:               c.cfg.Log.With("part", "controlplane"),
	})
	if err != nil {
		return nil, err
	}
	reader, err := newReader(c.server.Loopback())
	if err != nil {
		return nil, errors.Join(err, c.server.Stop(ctx)) // a part that did not start is not stopped
	}
	c.admit.SetReader(reader)
	failed := make(chan error, 1)
	go func() {
		<-c.server.Done()
		failed <- c.server.Err()
	}()
	return failed, nil
}

func (c *composition) stopServer(ctx context.Context, _ reason) error { return c.server.Stop(ctx) }

func (c *composition) startRegistry(ctx context.Context) (<-chan error, error) {
	registry, err := startRegistry(ctx, c.server.Loopback(), c.cfg.Log.With("part", "registry"))
	if err != nil {
		return nil, err
	}
	c.registry = registry
	if c.runsVMs() {
		return nil, registration.Revoke(ctx, c.server.Loopback(), group) // nobody keeps rights that nobody needs
	}
	return nil, registration.Grant(ctx, c.server.Loopback(), group)
}

func (c *composition) stopRegistry(context.Context, reason) error {
	c.registry.stop()
	return nil
}

func (c *composition) runsVMs() bool { return runs(c.cfg.Settings.Controllers, limavm.Name) }

func (c *composition) startDriver(ctx context.Context) (<-chan error, error) {
	if !c.runsVMs() {
		return nil, nil
	}
	c.changes = limavm.NewChanges()
	driver, err := newDriver(ctx, c.cfg, c.changes.Notify)
	if err != nil {
		return nil, fmt.Errorf("cannot start the driver: %w", err)
	}
	c.driver = driver
	return nil, nil
}

func (c *composition) stopDriver(context.Context, reason) error {
	if c.driver == nil {
		return nil
	}
	return c.driver.Close()
}

func (c *composition) startControllers(ctx context.Context) (<-chan error, error) {
	loopback := c.server.Loopback()
	log := c.cfg.Log.With("part", "controllers")
	if !c.runsVMs() {
		return nil, c.registry.MarkReady(ctx)
	}
	manager, err := limavm.NewManager(rest.CopyConfig(loopback), logging.ForKubernetes(log))
	if err != nil {
		return nil, fmt.Errorf("cannot start the controllers: %w", err)
	}
	if err := setUp(manager, c.driver, c.changes, c.metrics, log); err != nil {
		return nil, err
	}
	// Not bound to ctx: when that ends, the controllers go on until the VMs have stopped.
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	c.endManager, c.managed = end, make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(c.managed)
		if err := manager.Start(running); err != nil || running.Err() == nil {
			failed <- err
		}
	}()
	synced, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	if !manager.GetCache().WaitForCacheSync(synced) {
		end()
		return nil, errors.New("cannot start the controllers: their view of the API did not become complete")
	}
	if err := c.registry.announce(ctx, c.server.Address()); err != nil {
		end()
		return nil, err
	}
	return failed, nil
}

func (c *composition) stopControllers(ctx context.Context, _ reason) error {
	if c.endManager == nil {
		return nil
	}
	c.endManager()
	select {
	case <-c.managed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startVMs has nothing to do: which VMs run is up to the controllers.
func (c *composition) startVMs(context.Context) (<-chan error, error) { return nil, nil }

// prepareStop reads how long the VMs may take, and returns how long the end of the daemon takes at most.
func (c *composition) prepareStop(why reason) time.Duration {
	if why == asked && c.server != nil {
		c.graces = readGraces(context.Background(), c.server.Loopback(), c.cfg.Log)
	}
	var whole time.Duration
	for _, p := range c.list() {
		whole += p.deadline()
	}
	return whole
}

// stopVMs shuts all VMs down in parallel, unless they are left to the next daemon to adopt.
func (c *composition) stopVMs(ctx context.Context, why reason) error {
	if why != asked {
		return nil
	}
	if c.driver != nil {
		return c.driver.Drain(ctx, graceOf(c.graces))
	}
	if err := c.registry.dismiss(ctx); err != nil {
		return err
	}
	return drainLeftovers(ctx, c.cfg, graceOf(c.graces), nothing)
}

func (c *composition) drainTime() time.Duration { return longestDrain(c.graces) }
