package limavm

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// TestToldIsCounted: each under its own name, and nothing else.
func TestToldIsCounted(t *testing.T) {
	m := NewMetrics()
	for i, c := range []struct {
		reason  string
		counter prometheus.Counter
	}{
		{v1alpha1.EventForcedStop, m.forcedStops}, {v1alpha1.EventForeignProcess, m.foreign}, {v1alpha1.EventBackOff, m.backoffs},
	} {
		for range i + 1 {
			m.told(c.reason)
		}
		m.told(v1alpha1.EventStarted)
		var sample dto.Metric
		if err := c.counter.Write(&sample); err != nil || sample.GetCounter().GetValue() != float64(i+1) {
			t.Errorf("%s: %v, %v", c.reason, sample.GetCounter(), err)
		}
	}
}
