package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/config/crd"
	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/controlplane"
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
	cfg     Config
	port    int
	server  *controlplane.Server
	metrics *limavm.Metrics
	changes *limavm.Changes
	driver  vm.Driver
	admit   *limavm.Admission
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
		DataDir: inst.Dir, TLSDir: inst.TLSDir(), Kubeconfig: inst.Kubeconfig(), Port: c.port,
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
	failed := make(chan error, 1)
	go func() {
		<-c.server.Done()
		failed <- c.server.Err()
	}()
	return failed, nil
}

func (c *composition) stopServer(ctx context.Context, _ reason) error { return c.server.Stop(ctx) }

func (c *composition) startDriver(context.Context) (<-chan error, error) {
	c.changes = limavm.NewChanges()
	driver, err := newDriver(c.cfg, c.changes.Notify)
	if err != nil {
		return nil, fmt.Errorf("cannot start the driver: %w", err)
	}
	c.driver = driver
	return nil, nil
}

func (c *composition) stopDriver(context.Context, reason) error { return c.driver.Close() }

func (c *composition) startControllers(ctx context.Context) (<-chan error, error) {
	loopback := c.server.Loopback()
	log := c.cfg.Log.With("part", "controllers")
	manager, err := limavm.NewManager(rest.CopyConfig(loopback), log)
	if err != nil {
		return nil, fmt.Errorf("cannot start the controllers: %w", err)
	}
	c.admit.SetReader(manager.GetAPIReader())
	if runs(c.cfg.Settings.Controllers, limavm.Name) {
		err := limavm.SetupWithManager(manager, limavm.Config{
			Driver: c.driver, Changes: c.changes, Metrics: c.metrics, Log: log,
			Templates: limavm.Templates{Validate: template.Validate, MergeParams: template.MergeParams},
		})
		if err != nil {
			return nil, err
		}
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
	return failed, nil
}

func (c *composition) stopControllers(ctx context.Context, _ reason) error {
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
	if why == asked && c.driver != nil {
		c.graces = c.readGraces()
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
	return c.driver.Drain(ctx, func(name string) time.Duration {
		if grace, ok := c.graces[name]; ok {
			return grace
		}
		return defaultGrace
	})
}

// drainTime allows for the longest grace.
func (c *composition) drainTime() time.Duration {
	longest := defaultGrace
	for _, grace := range c.graces {
		longest = max(longest, grace)
	}
	return longest + forceTime
}

// readGraces asks for the graces of all VMs. What cannot be read is left out.
func (c *composition) readGraces() map[string]time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	graces := map[string]time.Duration{}
	scheme, err := limavm.Scheme()
	if err != nil {
		return graces
	}
	reader, err := client.New(c.server.Loopback(), client.Options{Scheme: scheme})
	if err != nil {
		return graces
	}
	var list v1alpha1.LimaVMList
	if err := reader.List(ctx, &list); err != nil {
		c.cfg.Log.Warn("the grace of the VMs cannot be read, so it is the default", "error", err)
	}
	for i := range list.Items {
		if seconds := list.Items[i].Spec.StopGracePeriodSeconds; seconds != nil {
			graces[list.Items[i].Name] = time.Duration(*seconds) * time.Second
		}
	}
	return graces
}
