package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
)

// newReader reads objects from the API, not from a cache.
func newReader(config *rest.Config) (client.Reader, error) {
	scheme, err := limavm.Scheme()
	if err != nil {
		return nil, err
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the API: %w", err)
	}
	return reader, nil
}

// readGraces are those of all VMs' specs. What cannot be read is left out.
func readGraces(ctx context.Context, config *rest.Config, log *slog.Logger) map[string]time.Duration {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	graces := map[string]time.Duration{}
	reader, err := newReader(config)
	if err != nil {
		return graces
	}
	var list v1alpha1.LimaVMList
	if err := reader.List(ctx, &list); err != nil {
		log.Warn("the grace of the VMs cannot be read, so it is the default", "error", err)
	}
	for i := range list.Items {
		if seconds := list.Items[i].Spec.StopGracePeriodSeconds; seconds != nil {
			graces[list.Items[i].Name] = time.Duration(*seconds) * time.Second
		}
	}
	return graces
}

// graceOf is the grace of a VM by its name.
func graceOf(graces map[string]time.Duration) func(name string) time.Duration {
	return func(name string) time.Duration {
		if grace, ok := graces[name]; ok {
			return grace
		}
		return defaultGrace
	}
}

// longestDrain is how long it may take until all VMs are shut down.
func longestDrain(graces map[string]time.Duration) time.Duration {
	longest := defaultGrace
	for _, grace := range graces {
		longest = max(longest, grace)
	}
	return longest + forceTime
}
