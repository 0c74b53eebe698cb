package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
)

// Remove removes everything of an instance whose daemon has ended. VMs that a dead daemon left running are shut down first.
// It removes nothing, and returns an error, where a daemon lives (which is ErrRunning), and where there is a VM that rdd has
// not made.
func Remove(ctx context.Context, cfg Config) error {
	inst := cfg.Instance
	unlock, there, err := lockLeft(inst)
	if err != nil {
		return err
	}
	if !there {
		return removeLogs(inst)
	}
	err = refuseForeign(inst)
	if err == nil {
		err = stopLeftovers(ctx, cfg, (*lima.Driver).Release)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot delete instance %q: %w", inst.Name, err), unlock())
	}
	crashpoint.At(crashpoint.RemoveBegun)
	err = removeVMs(inst)
	crashpoint.At(crashpoint.RemoveHalf)
	if err == nil {
		err = removeBut(inst.Dir, filepath.Base(inst.LockFile()))
	}
	if err != nil {
		return errors.Join(err, unlock())
	}
	return errors.Join(removeLock(inst, unlock), removeLogs(inst))
}

// removeLock removes the lock, and the directory that holds nothing else. Whoever begins meanwhile finds the lock taken, or makes
// another one, and keeps the directory.
func removeLock(inst instance.Instance, unlock func() error) error {
	held := os.Remove(inst.LockFile())
	err := unlock()
	if held != nil { // Windows removes no file that is open, be it by us or by whoever has it now
		_ = os.Remove(inst.LockFile())
	}
	if removed := os.Remove(inst.Dir); removed != nil {
		if entries, unread := os.ReadDir(inst.Dir); unread == nil && len(entries) == 0 {
			err = errors.Join(err, fmt.Errorf("cannot remove %s: %w", inst.Dir, removed))
		}
	}
	return err
}

// removeVMs removes what there is of VMs that were released. The records go last: they prove that the rest is ours, to whoever
// finishes this if it is interrupted.
func removeVMs(inst instance.Instance) error {
	if err := removeBut(inst.ShortDir, filepath.Base(inst.Records())); err != nil {
		return err
	}
	return removeAll(inst.ShortDir)
}

// removeLogs removes our files only: the directory may be one that the user chose and keeps other things in.
func removeLogs(inst instance.Instance) error {
	files, err := LogFiles(inst)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the log: %w", err)
		}
	}
	_ = os.Remove(inst.LogDir) // succeeds if it is empty
	return nil
}

// refuseForeign looks for what somebody else keeps in our LIMA_HOME. Lima's own names begin with an underscore.
func refuseForeign(inst instance.Instance) error {
	entries, err := os.ReadDir(inst.LimaHome())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasPrefix(entry.Name(), "_") || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if _, err := os.Stat(filepath.Join(inst.Records(), entry.Name())); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s was not made by rdd; move it away, or remove it yourself", filepath.Join(inst.LimaHome(), entry.Name()))
		}
	}
	trash := instancedir.Trash(inst.LimaHome())
	switch entries, err := os.ReadDir(trash); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s holds what rdd did not make, and moved aside; move it away, or remove it yourself", trash)
	}
	return nil
}

// StopVMs shuts down the VMs that a daemon which is gone has left running. Where another daemon lives it does nothing, and
// returns an error that is ErrRunning.
func StopVMs(ctx context.Context, cfg Config) error {
	unlock, there, err := lockLeft(cfg.Instance)
	if err != nil || !there {
		return err
	}
	if err = stopLeftovers(ctx, cfg, nothing); err != nil {
		err = fmt.Errorf("cannot stop the VMs of instance %q: %w", cfg.Instance.Name, err)
	}
	return errors.Join(err, unlock())
}

// nothing is done with stopped VMs that stay.
func nothing(*lima.Driver, context.Context) error { return nil } //nolint:revive // the shape of a method of Driver

// stopLeftovers shuts down what runs of VMs, each within the grace that was noted last, and does then what is to be done with
// stopped VMs.
func stopLeftovers(ctx context.Context, cfg Config, then func(*lima.Driver, context.Context) error) error {
	if _, err := os.Stat(cfg.Instance.LimaHome()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	graces := lima.Graces(cfg.Instance.LimaHome(), cfg.Instance.LimaSuffix())
	ctx, cancel := context.WithTimeout(ctx, longestDrain(graces))
	defer cancel()
	return drainLeftovers(ctx, cfg, graceOf(graces), then)
}

// drainLeftovers has the driver adopt what runs and nobody attends to, and shuts it down.
func drainLeftovers(
	ctx context.Context, cfg Config, grace func(string) time.Duration, then func(*lima.Driver, context.Context) error,
) error {
	driver, err := newDriver(ctx, cfg, func(string) {})
	if err != nil {
		return err
	}
	err = driver.Drain(ctx, grace)
	if err == nil {
		err = then(driver.Driver, ctx)
	}
	return errors.Join(err, driver.Close())
}

func removeAll(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot remove %s: %w", dir, err)
		}
	}
	return nil
}

func removeBut(dir string, keep ...string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	for _, entry := range entries {
		if slices.Contains(keep, entry.Name()) {
			continue
		}
		if err := removeAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
