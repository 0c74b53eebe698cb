package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/rest"

	"github.com/seed-192657fa/rdd/internal/datastore"
	"github.com/seed-192657fa/rdd/internal/private"
)

// Server is a running control plane.
type Server struct {
	cfg      Config
	listener *connections
	store    *store
	api      *apiServer
	served   bool          // whether serve was called
	up       chan struct{} // closed when Start is done

	// The parts that run, in the order in which they end: controllers, informers, the API server.
	controllers, informers, serving *part

	failOnce sync.Once
	done     chan struct{}
	err      error

	stopOnce sync.Once
	stopErr  error
}

// part is something that runs until it is told to stop.
type part struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newPart() *part {
	p := &part{}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (p *part) end(ctx context.Context) error {
	p.cancel()
	ended := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Start returns when the API is ready: the definitions of custom resources are established, the loopback answers, the
// kubeconfig is written. ctx bounds the start only; the server runs until Stop.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if err := cfg.complete(); err != nil {
		if cfg.Listener != nil {
			err = errors.Join(err, cfg.Listener.Close())
		}
		return nil, fmt.Errorf("cannot start the control plane: %w", err)
	}
	s := &Server{
		cfg: cfg, up: make(chan struct{}), done: make(chan struct{}),
		controllers: newPart(), informers: newPart(), serving: newPart(),
	}
	if err := s.start(ctx); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("cannot start the control plane: %w", err), s.Stop(stopCtx))
	}
	close(s.up)
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	s.listener = newConnections(s.cfg.Listener)
	creds, err := loadCredentials(s.cfg.TLSDir, time.Now())
	if err != nil {
		return err
	}
	// The store opens while the server is assembled.
	if s.store, err = s.openStore(ctx); err != nil {
		return err
	}
	if s.api, err = newAPIServer(&s.cfg, creds, s.listener, s.store, s.readiness()); err != nil {
		return errors.Join(err, s.store.wait(ctx))
	}
	if err := s.store.wait(ctx); err != nil {
		return err
	}
	namespaces, err := newNamespaceController(s.api.clients, creds.ca.certPEM, s.cfg.Log)
	if err != nil {
		return err
	}
	if err := s.startInformers(ctx); err != nil {
		return err
	}
	s.serve()
	if err := s.populate(ctx, creds); err != nil {
		return err
	}
	s.controllers.wg.Go(func() { namespaces.run(s.controllers.ctx) })
	s.controllers.wg.Go(func() {
		if err := runGarbageCollector(s.controllers.ctx, s.api.clients, s.api.discovery); err != nil {
			s.fail(err)
		}
	})
	return writeKubeconfig(s.cfg.Kubeconfig, s.Address(), creds)
}

func (s *Server) openStore(ctx context.Context) (*store, error) {
	if s.cfg.DatastoreEndpoint != "" {
		at, err := datastore.Parse(s.cfg.DatastoreEndpoint)
		if err != nil {
			return nil, err
		}
		return openExternal(ctx, at)
	}
	if err := private.MkdirAll(filepath.Dir(s.cfg.Store)); err != nil {
		return nil, err
	}
	return openEmbedded(s.cfg.Store, s.cfg.Log)
}

// startInformers fills the caches that admission, authorization and custom resources live by, before the server runs:
// upstream waits for them by polling, ten times a second.
func (s *Server) startInformers(ctx context.Context) error {
	cl := s.api.clients
	cl.informers.StartWithContext(s.informers.ctx)
	cl.crdFactory.StartWithContext(s.informers.ctx)
	err := errors.Join(cl.informers.WaitForCacheSyncWithContext(ctx).Err, cl.crdFactory.WaitForCacheSyncWithContext(ctx).Err)
	if err != nil {
		return fmt.Errorf("cannot fill the caches: %w", err)
	}
	return s.api.admission.start()
}

// serve runs the server, for those outside too. Whatever ends it before Stop is a failure.
func (s *Server) serve() {
	s.served = true
	ended := make(chan struct{})
	s.serving.wg.Go(func() {
		defer close(ended)
		err := s.api.RunWithContext(s.serving.ctx)
		if s.serving.ctx.Err() == nil {
			s.fail(fmt.Errorf("the API server ended: %w", errors.Join(err, net.ErrClosed)))
		}
	})
	s.serving.wg.Go(func() {
		select {
		case <-s.api.drained:
			s.listener.closeSoon(ended)
		case <-ended:
		}
	})
	s.serving.wg.Go(func() {
		select {
		case err := <-s.store.failed:
			s.fail(err)
		case <-s.serving.ctx.Done():
		}
	})
}

// populate creates what every instance has.
func (s *Server) populate(ctx context.Context, creds *credentials) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return ensureCRDs(ctx, s.api.clients, s.api.discovery, s.cfg.CRDs) })
	group.Go(func() error { return ensureNamespaces(ctx, s.api.clients, creds.ca.certPEM) })
	group.Go(func() error { return ensureRBAC(ctx, s.api.clients) })
	return group.Wait()
}

// readiness keeps /readyz from being ok while the server is up but not yet populated.
func (s *Server) readiness() healthz.HealthChecker {
	return healthz.NamedCheck("rdd-start", func(*http.Request) error {
		select {
		case <-s.up:
			return nil
		default:
			return errors.New("starting")
		}
	})
}

// Loopback is how to talk to the API from inside this process: as system:masters, without TLS.
func (s *Server) Loopback() *rest.Config { return s.api.loopback.config() }

// Address is what the API listens on, host and port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Done is closed when a part of the control plane failed, and after Stop. Err says which.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is nil until Done is closed, and after a Stop that nothing went before.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

func (s *Server) fail(err error) {
	s.failOnce.Do(func() {
		s.err = err
		close(s.done)
	})
}

// Stop ends the control plane: the controllers inside first, then the server with its clients, the store last. It gives up
// waiting when ctx is done, but closes the store in any case. Later calls return what the first one did.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.stopErr = s.stop(ctx) })
	return s.stopErr
}

func (s *Server) stop(ctx context.Context) error {
	var errs []error
	for _, p := range []struct {
		name string
		part *part
	}{{"controllers", s.controllers}, {"informers", s.informers}, {"API server", s.serving}} {
		if err := p.part.end(ctx); err != nil {
			errs = append(errs, fmt.Errorf("the %s did not end: %w", p.name, err))
		}
	}
	if s.api != nil {
		if !s.served {
			s.api.destroy()
		}
		s.api.clients.informers.Shutdown()
		s.api.clients.crdFactory.Shutdown()
	}
	if s.listener != nil {
		if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("cannot close the listener: %w", err))
		}
	}
	if s.store != nil {
		if err := s.store.close(); err != nil {
			errs = append(errs, fmt.Errorf("cannot close the store: %w", err))
		}
	}
	s.fail(nil)
	return errors.Join(errs...)
}
