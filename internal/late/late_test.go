package late_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	kubectlscheme "k8s.io/kubectl/pkg/scheme"
	_ "sigs.k8s.io/controller-runtime/pkg/controller" // registers go_goroutines
	controllermetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/seed-192657fa/rdd/internal/late"
	_ "github.com/seed-192657fa/rdd/internal/late/controllermetrics"
	_ "github.com/seed-192657fa/rdd/internal/late/groups"
	_ "github.com/seed-192657fa/rdd/internal/late/metrics"
)

var _ = register()

// register does what packages of Kubernetes do while they are initialised.
func register() bool {
	legacyregistry.MustRegister(metrics.NewCounter(&metrics.CounterOpts{Name: "created_at_init"}))
	legacyregistry.RawMustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "raw_at_init"}))
	return true
}

// TestRelease: before it no scheme has types of k8s.io/api and no registry these metrics, which fails when a group is missing in the
// table or what puts off comes too late; after it everything is there.
func TestRelease(t *testing.T) {
	schemes := map[string]*runtime.Scheme{"client-go": clientgoscheme.Scheme, "kubectl": kubectlscheme.Scheme}
	for name, scheme := range schemes {
		for kind := range apiTypes(scheme) {
			t.Errorf("%s's scheme has %v", name, kind)
		}
	}
	lookFor(t, false)
	var order []string
	late.Do(func() { order = append(order, "before") })
	made, seen := false, make(chan bool, 1)
	late.Do(func() {
		go func() {
			late.Release()
			seen <- made
		}()
		made = true
	})
	late.Release()
	if !<-seen {
		t.Error("whoever comes second goes on before the first is done")
	}
	late.Do(func() { order = append(order, "after") })
	late.Release()
	if want := []string{"before", "after"}; !slices.Equal(order, want) {
		t.Errorf("calls were made in the order %q, want %q", order, want)
	}
	whole := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(whole); err != nil {
		t.Fatal(err)
	}
	want := apiTypes(whole)
	for name, scheme := range schemes {
		if got := apiTypes(scheme); len(want) < 300 || !maps.Equal(got, want) {
			t.Errorf("%s's scheme has %d of %d types", name, len(got), len(want))
		}
	}
	lookFor(t, true)
}

func apiTypes(scheme *runtime.Scheme) map[schema.GroupVersionKind]reflect.Type {
	types := scheme.AllKnownTypes()
	maps.DeleteFunc(types, func(_ schema.GroupVersionKind, kind reflect.Type) bool {
		return !strings.HasPrefix(kind.PkgPath(), "k8s.io/api/")
	})
	return types
}

// lookFor fails unless the metrics that are put off are there, or are not.
func lookFor(t *testing.T, there bool) {
	t.Helper()
	for name, registry := range map[string]prometheus.Gatherer{
		"created_at_init": legacyregistry.DefaultGatherer, "raw_at_init": legacyregistry.DefaultGatherer,
		"go_goroutines": controllermetrics.Registry,
	} {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if found := slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == name }); found != there {
			t.Errorf("%s is registered: %t", name, found)
		}
	}
}
