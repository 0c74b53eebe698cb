package hostagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lima-vm/lima/v2/pkg/driverutil"
	"github.com/lima-vm/lima/v2/pkg/instance"
	"github.com/lima-vm/lima/v2/pkg/limatype"
	"github.com/lima-vm/lima/v2/pkg/limayaml"
	"github.com/lima-vm/lima/v2/pkg/store"

	"github.com/seed-192657fa/rdd/internal/durable"
	"github.com/seed-192657fa/rdd/internal/hostagent/assets"
	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
)

// createInstance makes an instance that can start without a download: Lima's Create and Prepare in one worker.
func createInstance(ctx context.Context, name string) error {
	return work(ctx, name, func(ctx context.Context, boot control.Boot, dir instancedir.Dir, to teller) error {
		progress(to, "Creating the instance", -1, "")
		creating, cancel := context.WithTimeoutCause(ctx, hostTimeout, errHostHangs) // it downloads nothing
		defer cancel()
		inst, err := instance.Create(creating, name, boot.Template, false)
		if err != nil {
			return fmt.Errorf("cannot create the instance: %w", orCause(creating, err))
		}
		if err := to.Note(control.Note{Made: true}); err != nil {
			return err
		}
		if _, err := prepare(ctx, boot, inst, to); err != nil {
			// The daemon cleans up what a dead worker leaves; a living one saves it the trouble.
			return errors.Join(err, removeInstance(context.WithoutCancel(ctx), dir, to))
		}
		return to.Note(control.Note{Instance: describe(inst)})
	})
}

// prepare has Lima download and convert what the instance needs, and grow its disk. It is quick when all is there.
func prepare(ctx context.Context, boot control.Boot, inst *limatype.Instance, to teller) (*instance.Prepared, error) {
	if err := checkTools(inst); err != nil {
		return nil, err
	}
	guestAgent, err := guestAgentFor(boot, inst)
	if err != nil {
		return nil, err
	}
	progress(to, "Preparing the disk", -1, "")
	prepared, err := instance.Prepare(ctx, inst, guestAgent)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the instance: %w", orCause(ctx, err))
	}
	return prepared, nil
}

// guestAgentFor unpacks the guest agent that the instance needs; empty when it needs none.
func guestAgentFor(boot control.Boot, inst *limatype.Instance) (string, error) {
	config := inst.Config
	if config.OS == nil || *config.OS != limatype.LINUX || (config.Plain != nil && *config.Plain) {
		return "", nil
	}
	return assets.GuestAgent(boot.GuestAgentDir, *config.OS, inst.Arch)
}

// applyTemplate replaces the template of an instance that does not run, as `limactl edit` does.
func applyTemplate(ctx context.Context, name string) error {
	return work(ctx, name, func(ctx context.Context, boot control.Boot, dir instancedir.Dir, to teller) error {
		progress(to, "Applying the template", -1, "")
		before, err := inspect(ctx, name)
		if err != nil {
			return err
		}
		config, err := limayaml.LoadWithWarnings(ctx, boot.Template, dir.Template())
		if err != nil {
			return fmt.Errorf("cannot load the template: %w", err)
		}
		if err := driverutil.ResolveVMType(config); err != nil {
			return fmt.Errorf("cannot tell what kind of VM the template wants: %w", err)
		}
		if err := limayaml.Validate(config, false); err != nil {
			return fmt.Errorf("cannot use the template: %w", err)
		}
		if *config.VMType != before.VMType || *config.Arch != before.Arch {
			return fmt.Errorf("cannot make a %s instance for %s out of a %s instance for %s: reset it instead",
				*config.VMType, *config.Arch, before.VMType, before.Arch)
		}
		if err := durable.WriteFile(dir.Template(), boot.Template, 0o644); err != nil {
			return fmt.Errorf("cannot write the template: %w", err)
		}
		after, err := inspect(ctx, name)
		if err != nil {
			return err
		}
		return to.Note(control.Note{Instance: describe(after)})
	})
}

// hostTimeout bounds what asks the host about a VM. Lima runs wsl.exe for that, which it ends with the context and not before.
const hostTimeout = time.Minute

var errHostHangs = fmt.Errorf("the host did not answer within %v", hostTimeout)

// orCause is the reason why ctx is done rather than what came of it.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// inspect is Lima's, without its habit of hiding errors. It must be called while nothing of the instance lives, or by its
// own agent: Lima asks whoever answers on ha.sock, and removes PID files.
func inspect(ctx context.Context, name string) (*limatype.Instance, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, hostTimeout, errHostHangs)
	defer cancel()
	inst, err := store.Inspect(ctx, name)
	if err == nil {
		err = errors.Join(inst.Errors...)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot inspect the instance: %w", orCause(ctx, err))
	}
	return inst, nil
}
