package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/seed-192657fa/rdd/internal/collector"
	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/late"
	"github.com/seed-192657fa/rdd/internal/logging"
	"github.com/seed-192657fa/rdd/internal/registration"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// errLost says that somebody has taken the registration away.
var errLost = errors.New("the controllers are no longer registered, so they end; the VMs go on")

// external runs the controllers of VMs outside the daemon.
type external struct {
	cfg      Config
	owner    *rest.Config // the user's credentials: they are used for tokens only
	config   *rest.Config // those of the controllers
	access   *access
	registry *registration.Registry
	entry    registration.Entry
	driver   vm.Driver
	manager  manager.Manager
	metrics  *limavm.Metrics
	// over is called with the reason for the end: nil when all is well.
	over func(error)
	work sync.WaitGroup
}

// RunControllers runs the controllers of a group against the daemon of an instance until ctx is done or the daemon ends;
// the VMs go on then, for whoever runs the controllers next. When the daemon is asked to stop, it shuts them down first. It
// returns an error where another process runs these controllers.
func RunControllers(ctx context.Context, cfg Config) (err error) {
	collector.Usual()
	late.Release()
	record, err := Find(cfg.Instance)
	if err != nil {
		return err
	}
	if !record.Serves() {
		return fmt.Errorf("the control plane of instance %q does not run; start it with \"rdd svc start\"", cfg.Instance.Name)
	}
	plane, err := process.Open(record.Identity)
	if err != nil {
		return fmt.Errorf("cannot follow the control plane: %w", err)
	}
	defer plane.Close()
	running, cancel := context.WithCancelCause(ctx)
	e := &external{cfg: cfg, metrics: limavm.NewMetrics(), over: func(err error) { cancel(err) }}
	defer e.work.Wait()
	defer cancel(nil)
	e.work.Go(func() {
		if plane.Wait(running) == nil {
			cfg.Log.Info("the control plane has ended, and so do its controllers; the VMs go on")
			cancel(nil)
		}
	})
	if e.owner, err = clientcmd.BuildConfigFromFlags("", cfg.Instance.Kubeconfig()); err != nil {
		return fmt.Errorf("cannot read the credentials in %s: %w", cfg.Instance.Kubeconfig(), err)
	}
	err = e.run(running)
	if running.Err() == nil || err != nil && ctx.Err() == nil && plane.Alive() {
		return err
	}
	if cause := context.Cause(running); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (e *external) run(ctx context.Context) error {
	unlock, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	if e.config, err = e.credentials(ctx); err != nil {
		return err
	}
	if e.registry, err = registration.New(e.config); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot serve health and metrics: %w", err)
	}
	defer listener.Close()
	if err := e.describe(listener.Addr()); err != nil {
		return err
	}
	if err := e.registry.Register(ctx, group, e.entry); err != nil {
		return err
	}
	defer e.leave(ctx)
	changes := limavm.NewChanges()
	if e.driver, err = openDriver(e.cfg, changes.Notify); err != nil {
		return fmt.Errorf("cannot start the driver: %w", err)
	}
	defer func() { _ = e.driver.Close() }()
	log := e.cfg.Log.With("part", "controllers")
	if e.manager, err = limavm.NewManager(e.config, logging.ForKubernetes(log)); err != nil {
		return fmt.Errorf("cannot start the controllers: %w", err)
	}
	if err := setUp(e.manager, e.driver, changes, e.metrics, log); err != nil {
		return err
	}
	return e.serve(ctx, listener)
}

// lock makes this process the one that runs the VMs, or tells who is.
func (e *external) lock(ctx context.Context) (func() error, error) {
	unlock, err := lockDriver(ctx, e.cfg.Instance, 0)
	if !errors.Is(err, errDriven) {
		return unlock, err
	}
	registry, problem := registration.New(e.owner)
	if problem != nil {
		return nil, err
	}
	if state, problem := registry.Read(ctx); problem == nil {
		if holder, ok := state.Entries[group]; ok {
			return nil, &registration.TakenError{Group: group, Holder: holder}
		}
	}
	return nil, err
}

// describe fills in what the registry is told.
func (e *external) describe(address net.Addr) error {
	self, err := process.Self()
	if err != nil {
		return fmt.Errorf("cannot identify this process: %w", err)
	}
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("cannot tell the port of %s", address)
	}
	url := "http://" + address.String()
	e.entry = registration.Entry{
		HealthPort: tcp.Port, MetricsPort: tcp.Port, EnabledControllers: []string{limavm.Name}, StartTime: time.Now(),
		HealthEndpoint: url + "/healthz", MetricsEndpoint: url + "/metrics", Process: self,
	}
	return nil
}

// serve runs the controllers until the end, which is one of four: ctx is done, they fail, their registration is taken
// away, or they are asked to shut the VMs down and have done so.
func (e *external) serve(ctx context.Context, listener net.Listener) error {
	// Not bound to ctx: the controllers report until the VMs have stopped.
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	defer work.Wait()
	defer end()
	failed := make(chan error, 1)
	work.Go(func() {
		if err := e.manager.Start(running); err != nil || running.Err() == nil {
			failed <- fmt.Errorf("the controllers failed: %w", errors.Join(err, errEnded))
		}
	})
	server := &http.Server{Handler: e.health(), ReadHeaderTimeout: askTime}
	work.Go(func() { _ = server.Serve(listener) })
	defer server.Close()
	work.Go(func() { e.renew(running) })
	drain, lost := make(chan struct{}), make(chan struct{})
	work.Go(func() {
		e.follow(running, sync.OnceFunc(func() { close(drain) }), sync.OnceFunc(func() { close(lost) }))
	})
	if err := awaitView(ctx, e.manager.GetCache(), failed); err != nil {
		return err
	}
	e.cfg.Log.Info("ready", "group", group, "health", e.entry.HealthEndpoint)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	case <-lost:
		return errLost
	case <-drain:
	}
	graces := readGraces(ctx, e.config, e.cfg.Log)
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestDrain(graces))
	defer cancel()
	return e.driver.Drain(draining, graceOf(graces))
}

// awaitView waits until the controllers see all that the API has. They hold the lock of the VMs meanwhile, so not for ever.
func awaitView(ctx context.Context, view interface{ WaitForCacheSync(context.Context) bool }, failed <-chan error) error {
	synced, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	complete := make(chan bool, 1)
	go func() { complete <- view.WaitForCacheSync(synced) }()
	select {
	case err := <-failed:
		return err
	case ok := <-complete:
		if ok {
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.New("cannot start the controllers: their view of the API did not become complete")
}

// errEnded is why controllers fail that end without an error.
var errEnded = errors.New("they ended without having been asked to")

// follow tells when the daemon wants the VMs shut down, and when the registration is gone.
func (e *external) follow(ctx context.Context, drain, lost func()) {
	seen := false
	err := e.registry.Follow(ctx, func(state registration.State) {
		ours := state.Entries[group].Process == e.entry.Process
		switch {
		case ours && state.Stopping:
			drain()
		case seen && !ours:
			lost()
		}
		seen = seen || ours
	}, func() { seen = false }) // deleted as a whole: the control plane restores it
	if err != nil {
		e.over(err)
	}
}

// leave gives the place up, if there is still a control plane that listens.
func (e *external) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	if err := e.registry.Unregister(ctx, group, e.entry.Process); err != nil {
		e.cfg.Log.Debug("not unregistered; the control plane notices by itself", "error", err)
	}
}
