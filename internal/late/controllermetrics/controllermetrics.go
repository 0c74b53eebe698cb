// Package controllermetrics owns when controller-runtime's metrics are registered: late, for the reason that package metrics has.
package controllermetrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/seed-192657fa/rdd/internal/late"
)

var _ = hold()

func hold() bool {
	metrics.Registry = registry{metrics.Registry}
	return true
}

type registry struct{ metrics.RegistererGatherer }

func (r registry) MustRegister(all ...prometheus.Collector) {
	late.Do(func() { r.RegistererGatherer.MustRegister(all...) })
}
