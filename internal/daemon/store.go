package daemon

import (
	"context"

	"github.com/seed-192657fa/rdd/internal/controlplane"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// CheckStore tells what is wrong with the embedded datastore of an instance whose daemon has ended. It changes nothing.
func CheckStore(ctx context.Context, inst instance.Instance) error {
	return controlplane.CheckStore(ctx, inst.StoreFile())
}
