package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-192657fa/rdd/internal/controlplane"
	"github.com/seed-192657fa/rdd/internal/datastore"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
)

// Reset empties the datastore of an instance whose daemon has ended, and removes the VMs whose objects were in it. Settings,
// credentials, caches and logs stay. VMs that a dead daemon left running are shut down first. It removes nothing, and returns
// an error, where a daemon lives (which is ErrRunning), where there is a VM that rdd has not made, and where the objects are
// kept by somebody else's datastore. Killed in between, it can be repeated: the objects go last.
func Reset(ctx context.Context, cfg Config) error {
	if err := CheckReset(cfg.Instance, cfg.Settings); err != nil {
		return err
	}
	inst := cfg.Instance
	unlock, there, err := lockLeft(inst)
	if err != nil || !there {
		return err
	}
	err = stopLeftovers(ctx, cfg, (*lima.Driver).Release)
	if err == nil {
		err = removeVMs(inst)
	}
	if err == nil {
		err = removeAll(controlplane.StoreFiles(inst.StoreFile())...)
	}
	if err != nil {
		err = fmt.Errorf("cannot reset instance %q: %w", inst.Name, err)
	}
	return errors.Join(err, unlock())
}

// CheckReset tells why an instance cannot be reset, for whoever asks before its daemon is stopped.
func CheckReset(inst instance.Instance, settings Settings) error {
	var err error
	if endpoint := settings.DatastoreEndpoint; endpoint != "" {
		err = fmt.Errorf("its objects are kept at %s, which is for its owner to empty", datastore.Redact(endpoint))
	} else {
		err = refuseForeign(inst)
	}
	if err != nil {
		return fmt.Errorf("cannot reset instance %q: %w", inst.Name, err)
	}
	return nil
}
