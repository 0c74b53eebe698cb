package controlplane

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// TestMetricsAndHealth: metrics, ours among those of the API server, are for those who are known; its health is for all.
func TestMetricsAndHealth(t *testing.T) {
	registry := prometheus.NewRegistry()
	ours := prometheus.NewCounter(prometheus.CounterOpts{Name: "rdd_test_total", Help: "A test."})
	registry.MustRegister(ours)
	ours.Inc()
	cfg := testConfig(t)
	cfg.Metrics = registry
	start(t, cfg)
	admin, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	get := func(config *rest.Config, path string) (int, string) {
		t.Helper()
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Get(config.Host + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	code, metrics := get(admin, "/metrics")
	for _, want := range []string{"rdd_test_total 1\n", "\napiserver_request_total{", "\nprocess_resident_memory_bytes ", "\netcd_request_duration_seconds_bucket{"} {
		if code != http.StatusOK || !strings.Contains(metrics, want) {
			t.Errorf("/metrics: %d, without %q", code, want)
		}
	}
	if code, metrics := get(admin, "/metrics?name[]=rdd_test_total"); code != http.StatusOK || strings.Contains(metrics, "apiserver_") {
		t.Errorf("one metric: %d, %s", code, metrics)
	}
	if code, _ := get(admin, "/metrics/slis"); code != http.StatusOK {
		t.Errorf("/metrics/slis: %d", code)
	}
	nobody := rest.AnonymousClientConfig(admin)
	if code, _ := get(nobody, "/metrics"); code != http.StatusForbidden {
		t.Errorf("/metrics for anybody: %d", code)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		if code, body := get(nobody, path); code != http.StatusOK || body != "ok" {
			t.Errorf("%s: %d, %s", path, code, body)
		}
	}
	if _, body := get(admin, "/readyz?verbose"); !strings.Contains(body, "[+]rdd-start ok") || !strings.Contains(body, "[+]etcd ok") {
		t.Errorf("/readyz?verbose: %s", body)
	}
}
