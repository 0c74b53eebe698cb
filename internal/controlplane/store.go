package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"k8s.io/apiserver/pkg/storage/etcd3"

	"github.com/seed-192657fa/rdd/internal/datastore"
)

const (
	// notifyInterval is how often an idle watch is told the current revision.
	notifyInterval = time.Minute

	// emulatedEtcd is the version that kine itself claims: it stands for the support of watch progress requests.
	emulatedEtcd = "3.6.11"

	bufconnBytes   = 256 << 10
	drainTimeout   = 2 * time.Second
	dialTimeout    = 10 * time.Second
	keepaliveTime  = 30 * time.Second
	keepaliveReply = 10 * time.Second
)

// store is what the API server keeps its objects in, behind one client that all resources share. The client can be handed out
// before the store is open: its calls wait.
type store struct {
	client *kubernetes.Client
	// compactor trims the history of an external etcd. The embedded store does that by itself.
	compactor etcd3.Compactor
	external  bool

	settle  func() error  // brings the embedded store into one file
	opened  chan struct{} // closed when openErr is known
	openErr error
	failed  chan error
	close   func() error
}

// wait returns when the store is open, or why it is not.
func (s *store) wait(ctx context.Context) error {
	select {
	case <-s.opened:
		return s.openErr
	case <-ctx.Done():
		return fmt.Errorf("the store is not open yet: %w", ctx.Err())
	}
}

// check asks for a key, the way every health check of etcd does.
func (s *store) check(ctx context.Context) error {
	_, err := s.client.KV.Get(ctx, server.HealthKey)
	return err
}

// openEmbedded begins to open, or to create, the SQLite file at path, which is served over an in-memory connection.
func openEmbedded(path string, log *slog.Logger) (*store, error) {
	listener := bufconn.Listen(bufconnBytes)
	client, err := newClient(clientv3.Config{
		Endpoints: []string{"http://store"},
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &store{
		client: client, opened: make(chan struct{}), failed: make(chan error, 1),
		settle: func() error { return nil },
	}
	grpcServer := grpc.NewServer(grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.StreamInterceptor(withoutRangeStream))
	var wg sync.WaitGroup
	connections := newOpenConnections()
	wg.Go(func() {
		backend, err := s.open(ctx, &wg, connections, path, log)
		s.openErr = err
		close(s.opened)
		if err != nil {
			return
		}
		server.New(backend, "http", notifyInterval, emulatedEtcd).Register(grpcServer)
		if err := grpcServer.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.fail(fmt.Errorf("the store's server ended: %w", err))
		}
	})
	s.close = func() error {
		<-s.opened
		err := client.Close()
		stopServer(grpcServer)
		cancel()
		wg.Wait()
		if connections.wait(drainTimeout) {
			err = errors.Join(err, s.settle())
		} else {
			err = errors.Join(err, errors.New("the store is still in use, its log remains beside it"))
		}
		return errors.Join(err, listener.Close())
	}
	return s, nil
}

func (s *store) open(ctx context.Context, wg *sync.WaitGroup, connections *openConnections, path string, log *slog.Logger) (server.Backend, error) {
	connector, err := prepareSQLite(path)
	if err != nil {
		return nil, err
	}
	s.settle = func() error { return settleSQLite(connector) }
	return openBackend(ctx, wg, guarded{connector, connections, func(err error) {
		s.fail(fmt.Errorf("cannot read the store %s: %w", path, err))
		<-ctx.Done()
	}}, log)
}

// withoutRangeStream refuses what kine gets wrong, so that the API server reads page by page: when a page ends where a batch
// does, kine says that it was the last one; and it gives out pages under a revision that they do not show yet.
func withoutRangeStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod == etcdserverpb.KV_RangeStream_FullMethodName {
		return status.Error(codes.Unimplemented, "lists are not streamed")
	}
	return handler(srv, stream)
}

// fail reports the first failure of a store that was open.
func (s *store) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// openExternal begins to connect to an etcd of others. All that the API server stores goes through this client, and so is done as
// its user. With one, the client logs in here; without, whether anybody answers is seen later.
func openExternal(ctx context.Context, at datastore.Datastore) (*store, error) {
	explain := func(err error) error {
		return fmt.Errorf("cannot use the datastore at %s: %w", strings.Join(at.Endpoints, ","), err)
	}
	client, err := newClient(clientv3.Config{
		Endpoints:            at.Endpoints,
		Username:             at.Username,
		Password:             at.Password,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveReply,
	})
	if err != nil {
		return nil, explain(err)
	}
	compactor := newCompactor(client.Client)
	s := &store{client: client, compactor: compactor, external: true, opened: make(chan struct{}), failed: make(chan error, 1)}
	go func() {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if err := s.check(ctx); err != nil {
			s.openErr = explain(err)
		}
		close(s.opened)
	}()
	s.close = func() error {
		<-s.opened
		compactor.Stop()
		return client.Close()
	}
	return s, nil
}

func newClient(cfg clientv3.Config) (*kubernetes.Client, error) {
	cfg.Logger = zap.NewNop() // what matters comes back as errors
	cfg.MaxCallSendMsgSize = math.MaxInt32
	cfg.MaxCallRecvMsgSize = math.MaxInt32
	client, err := kubernetes.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the datastore: %w", err)
	}
	client.KV = etcd3.NewETCDLatencyTracker(client.KV)
	return client, nil
}

// stopServer waits for running calls, but not for watches that nobody reads.
func stopServer(s *grpc.Server) {
	timer := time.AfterFunc(drainTimeout, s.Stop)
	defer timer.Stop()
	s.GracefulStop()
}
