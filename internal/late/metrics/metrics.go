// Package metrics owns when Kubernetes' metrics are registered: late. Each is described by a goroutine of its own, and while packages are
// initialised the first goroutine holds its thread, so that every metric costs two switches between threads.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/seed-192657fa/rdd/internal/late"
)

var _ = hold()

func hold() bool {
	mustRegister, rawMustRegister := legacyregistry.MustRegister, legacyregistry.RawMustRegister
	legacyregistry.MustRegister = func(all ...metrics.Registerable) { late.Do(func() { mustRegister(all...) }) }
	legacyregistry.RawMustRegister = func(all ...prometheus.Collector) { late.Do(func() { rawMustRegister(all...) }) }
	return true
}
