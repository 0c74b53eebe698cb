package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// readCounters reads counters without labels from the metrics of a control plane that runs. One that it does not have is
// missing in the result, such as with an older daemon.
func readCounters(ctx context.Context, inst instance.Instance, names ...string) (map[string]*int, error) {
	config, err := credentials(inst)
	if err != nil {
		return nil, err
	}
	api, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("cannot read the metrics: %w", err)
	}
	address := config.Host + "/metrics?" + url.Values{"name[]": names}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("cannot read the metrics: %w", err)
	}
	response, err := api.Do(request)
	if err != nil {
		return nil, fmt.Errorf("cannot read the metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cannot read the metrics: %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot understand the metrics: %w", err)
	}
	counters := map[string]*int{}
	for _, name := range names {
		if samples := families[name].GetMetric(); len(samples) == 1 {
			value := int(samples[0].GetCounter().GetValue())
			counters[name] = &value
		}
	}
	return counters, nil
}
