package controlplane

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/prometheus/slis"
)

// installMetrics serves the API server's metrics and those of others on one path. Whoever asks needs the right to get it.
func installMetrics(server *genericapiserver.GenericAPIServer, others prometheus.Gatherer) {
	// Upstream registers its metrics on the way to a handler of its own, which nobody needs.
	routes.DefaultMetrics{}.Install(mux.NewPathRecorderMux("metrics"))
	gatherers := prometheus.Gatherers{legacyregistry.DefaultGatherer}
	if others != nil {
		gatherers = append(gatherers, others)
	}
	handler := promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	server.Handler.NonGoRestfulMux.Handle("/metrics", handler)
	slis.SLIMetrics{}.Install(server.Handler.NonGoRestfulMux)
}
