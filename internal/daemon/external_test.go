package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/registration"
)

// blind is a manager whose caches never become complete.
type blind struct {
	manager.Manager
	cache.Cache
	failure error
}

func (b blind) Start(context.Context) error { return b.failure }

func (b blind) GetCache() cache.Cache { return b }

func (b blind) WaitForCacheSync(ctx context.Context) bool {
	<-ctx.Done()
	return false
}

// TestControllersThatDoNotStart: they end with the reason. It fails when nobody looks whether they failed.
func TestControllersThatDoNotStart(t *testing.T) {
	registry, err := registration.New(&rest.Config{Host: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &external{
		cfg: Config{Log: slog.New(slog.DiscardHandler)}, registry: registry, access: &access{made: time.Now()}, metrics: limavm.NewMetrics(),
		manager: blind{failure: errors.New("no rights")}, over: func(error) {},
	}
	if err := e.serve(t.Context(), listener); err == nil || !strings.Contains(err.Error(), "the controllers failed: no rights") {
		t.Error(err)
	}
}

// TestAwaitView: without an end in sight there is one, and an end that was asked for is no failure to start.
func TestAwaitView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := awaitView(t.Context(), blind{}, nil); err == nil || !strings.Contains(err.Error(), "did not become complete") {
			t.Error(err)
		}
		why := errors.New("access is revoked")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		if err := awaitView(ctx, blind{}, nil); !errors.Is(err, why) {
			t.Error(err)
		}
	})
}

func TestLongestDrain(t *testing.T) {
	for longest, graces := range map[time.Duration]map[string]time.Duration{
		defaultGrace: {"short": time.Second}, time.Hour: {"short": time.Second, "long": time.Hour},
	} {
		if got := longestDrain(graces); got != longest+forceTime {
			t.Errorf("%v: %s, want %s", graces, got, longest+forceTime)
		}
	}
}
