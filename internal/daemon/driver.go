package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
)

const (
	// driverWait is for one that is just ending: controllers outside the daemon end when their control plane has.
	driverWait = 10 * time.Second
	// driverPoll is how often the lock is tried meanwhile: the system tells nobody that a lock was let go.
	driverPoll = 50 * time.Millisecond
)

// errDriven says that another process runs the VMs of the instance.
var errDriven = errors.New("another process runs the VMs of this instance; end it first")

// exclusive is a driver that holds the lock of its VMs until it is closed.
type exclusive struct {
	*lima.Driver
	unlock func() error
}

func (d *exclusive) Close() error { return errors.Join(d.Driver.Close(), d.unlock()) }

// newDriver makes the driver of this instance's VMs, and has it take over those that run. There is one at a time.
func newDriver(ctx context.Context, cfg Config, notify func(name string)) (*exclusive, error) {
	unlock, err := lockDriver(ctx, cfg.Instance, driverWait)
	if err != nil {
		return nil, err
	}
	driver, err := openDriver(cfg, notify)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return &exclusive{driver, unlock}, nil
}

// openDriver is for who has the lock already.
func openDriver(cfg Config, notify func(name string)) (*lima.Driver, error) {
	return lima.New(lima.Config{
		Home: cfg.Instance.LimaHome(), Suffix: cfg.Instance.LimaSuffix(), Executable: cmp.Or(cfg.Agents, cfg.Executable), Env: cfg.Environ,
		GuestAgentDir: filepath.Join(cfg.Instance.CacheDir(), "guestagent"),
		Log:           cfg.Log.With("part", "driver"), Notify: notify,
	})
}

// lockDriver makes this process the only one that runs the VMs, until unlock is called or the process ends, however it ends.
func lockDriver(ctx context.Context, inst instance.Instance, wait time.Duration) (unlock func() error, err error) {
	if err := os.MkdirAll(inst.LimaHome(), 0o700); err != nil {
		return nil, fmt.Errorf("cannot lock the VMs: %w", err)
	}
	file := flock.New(inst.DriverLock(), flock.SetPermissions(0o600))
	locked, err := file.TryLock()
	if err == nil && !locked && wait > 0 {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		locked, err = file.TryLockContext(ctx, driverPoll)
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot lock the VMs: %w", err)
	case !locked:
		return nil, errDriven
	}
	return file.Unlock, nil
}
