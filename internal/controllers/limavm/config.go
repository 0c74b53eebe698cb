package limavm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// Name of the controller, in logs and as the source of Events.
const Name = "limavm"

// nameIndex is the field that objects are indexed by, so that those of one name are found in all namespaces.
const nameIndex = "metadata.name"

const (
	// workers bounds how many VMs are reconciled at once. None of them waits for anything but the API server.
	workers = 4
	// After an error, the next attempt comes soon, then ever later.
	shortestRetry = 5 * time.Millisecond
	longestRetry  = time.Minute
	// reconcileTimeout is far more than a reconcile takes; it only keeps a worker from waiting for ever for the API server.
	reconcileTimeout = time.Minute
)

// Config is what the controller needs.
type Config struct {
	Driver    vm.Driver
	Templates Templates
	// Changes is told by the driver of what has changed.
	Changes *Changes
	// Reader reads from the API server, not from a cache; default: that of the manager.
	Reader client.Reader
	// Metrics default: some that nobody gathers.
	Metrics *Metrics
	// Clock default: the real one.
	Clock clock.PassiveClock
	Log   *slog.Logger
}

// check fills in defaults.
func (c *Config) check(mgr manager.Manager) error {
	if c.Driver == nil || c.Changes == nil || c.Templates.Validate == nil || c.Templates.MergeParams == nil || c.Log == nil {
		return errors.New("cannot set up the LimaVM controller: Driver, Changes, Templates and Log must be given")
	}
	if c.Reader == nil {
		c.Reader = mgr.GetAPIReader()
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	return nil
}

// Scheme has the types that the controller works with.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("cannot make the scheme: %w", err)
		}
	}
	return scheme, nil
}

// NewManager makes a manager that suits the controller: it caches LimaVMs and their templates only, opens no port, and
// elects no leader.
func NewManager(config *rest.Config, log *slog.Logger) (manager.Manager, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	return manager.New(config, manager.Options{
		Scheme:                 scheme,
		Logger:                 logr.FromSlogHandler(log.Handler()),
		Metrics:                server.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
		Cache: cache.Options{
			ReaderFailOnMissingInformer: true,
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.LimaVM{}: {},
				&corev1.ConfigMap{}: {
					Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelTemplateConfigMap: "true"}),
				},
			},
		},
		Client: client.Options{
			FieldOwner: Name,
			// A restart that was decided upon a status from before the last restart would be a second restart.
			Cache: &client.CacheOptions{EnableReadYourWritesConsistency: ptr.To(true)},
		},
	})
}

// SetupWithManager adds the controller to a manager.
func SetupWithManager(mgr manager.Manager, cfg Config) error {
	if err := cfg.check(mgr); err != nil {
		return err
	}
	if err := indexNames(mgr); err != nil {
		return err
	}
	// Known before the cache starts, so that both kinds are awaited together: each wait is polled every 100 ms.
	if _, err := mgr.GetCache().GetInformer(context.Background(), &corev1.ConfigMap{}, cache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("cannot watch the templates of LimaVMs: %w", err)
	}
	var reader client.Reader = mgr.GetCache()
	cfg.Changes.reader = reader
	cfg.Metrics.reader.Store(&reader)
	order := newOrder()
	err := ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		For(&v1alpha1.LimaVM{}, builder.WithPredicates(order.notice())).
		Watches(&corev1.ConfigMap{}, templateOwner()).
		WatchesRawSource(cfg.Changes).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			SkipNameValidation:      ptr.To(true), // one daemon, many tests: there is no registry of metrics to clash in
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](
				shortestRetry, longestRetry),
			NewQueue:              order.newQueue,
			ReconciliationTimeout: reconcileTimeout,
		}).
		Complete(&Reconciler{Client: mgr.GetClient(), cfg: cfg, began: cfg.Clock.Now()})
	if err != nil {
		return fmt.Errorf("cannot set up the LimaVM controller: %w", err)
	}
	return nil
}
