package hostagent

import (
	"context"
	"errors"
	"fmt"

	"github.com/lima-vm/lima/v2/pkg/instance"
	"github.com/lima-vm/lima/v2/pkg/store"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/hostagent/vmtype"
	"github.com/seed-192657fa/rdd/process"
)

// deleteInstance removes an instance, whole or half-made. The daemon has made sure that nothing of it lives.
func deleteInstance(ctx context.Context, name string) error {
	return work(ctx, name, func(ctx context.Context, _ control.Boot, dir instancedir.Dir, to teller) error {
		progress(to, "Deleting the instance", -1, "")
		return removeInstance(ctx, dir, to)
	})
}

// removeInstance has Lima undo what the VM's driver keeps elsewhere, and removes the directory, which is buried first. Lima's
// Delete signals every PID that it finds in a file, and unlocks disks whoever holds them: so all PID files go before, the PIDs
// in the struct are zeroed, and the disks are unlocked here.
func removeInstance(ctx context.Context, dir instancedir.Dir, to teller) error {
	if err := dir.Deletable(); err != nil {
		return err
	}
	notices, err := dir.Clear(process.Identity{})
	if err != nil {
		return err
	}
	for _, notice := range notices {
		_ = to.Note(control.Note{Notice: &notice})
	}
	config, err := store.LoadYAMLByFilePath(ctx, dir.Template())
	// Without a template there is nothing that a driver could know of. A distribution Lima would remove by its name, whosever
	// it is, and without ending it first: the daemon has removed the one that is ours.
	if err != nil || vmtype.Of(*config.VMType).Distribution {
		if _, err := dir.Bury(); err != nil {
			return err
		}
		return dir.EmptyGrave()
	}
	inst, err := store.Inspect(ctx, dir.Name)
	if err != nil {
		return fmt.Errorf("cannot inspect the instance: %w", err)
	}
	if inst.Protected {
		return errors.New("the instance is protected from deletion: run \"limactl unprotect\" first")
	}
	if inst.Dir, err = dir.Bury(); err != nil {
		return err
	}
	inst.HostAgentPID, inst.DriverPID, inst.AdditionalDisks = 0, 0, nil
	if err := instance.Delete(ctx, inst, true); err != nil {
		return fmt.Errorf("cannot delete the instance: %w", err)
	}
	return nil
}
