package lima

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-192657fa/rdd/internal/hostagent/vmtype"
	"github.com/seed-192657fa/rdd/internal/wsl"
)

// A WSL distribution lives outside of every process of ours, and is known by a name that anybody can take. The record says
// whether the one of that name is ours: it is, from the moment before the first start in which there was none. One that is
// not recorded is never ended, removed, or handed to Lima, which would run it, and delete it, by its name.

// claim makes the distribution ours before Lima makes it, or tells who is in the way. It does nothing for other VMs.
func (s *supervisor) claim(ctx context.Context) error {
	rec := s.recorded()
	if rec.Instance == nil || !vmtype.Of(rec.Instance.VMType).Distribution || rec.Distribution != "" {
		return nil
	}
	cli, err := s.driver.wsl()
	if err != nil {
		return err
	}
	name := vmtype.Distribution(s.dir.Name)
	taken, err := cli.Has(ctx, name)
	if err != nil {
		return err
	}
	if taken {
		return fmt.Errorf("there is a WSL distribution %s already, which rdd did not make: keep it with \"wsl --export\", "+
			"remove it with \"wsl --unregister %s\", or give the VM another name", name, name)
	}
	rec.Distribution = name
	return s.save(rec)
}

// endDistribution ends what may have outlived its agent.
func (s *supervisor) endDistribution(ctx context.Context) error {
	return s.withDistribution(func(cli wsl.CLI, name string) error { return cli.Terminate(ctx, name) })
}

// spareDisk moves a directory aside that somebody has put in the place of the instance's, if there is a distribution to remove: WSL
// deletes the distribution's disk by its path, whosever it is that is there now.
func (s *supervisor) spareDisk() error {
	rec, place, err := s.look()
	if err != nil || rec == nil || rec.Distribution == "" || place != placeTheirs {
		return err
	}
	return s.moveAside()
}

// removeDistribution removes what the instance keeps outside of its directory, which must not be somebody else's: see spareDisk.
func (s *supervisor) removeDistribution(ctx context.Context) error {
	return s.withDistribution(func(cli wsl.CLI, name string) error { return cli.Unregister(ctx, name) })
}

// withDistribution calls do if the record names a distribution, and there is a WSL that could have it.
func (s *supervisor) withDistribution(do func(cli wsl.CLI, name string) error) error {
	rec, err := readRecord(s.dir) // what is removed may be known to the disk only
	if err != nil || rec == nil || rec.Distribution == "" {
		return err
	}
	cli, err := s.driver.wsl()
	if errors.Is(err, wsl.ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	return do(cli, rec.Distribution)
}

// wsl is the program that the children would find.
func (d *Driver) wsl() (wsl.CLI, error) { return wsl.Find(d.cfg.Env, d.cfg.WSLTimeout) }

// Release removes what instances keep outside of LIMA_HOME, and moves their directories to where they are known to be ours, for
// whoever is about to remove all of it: if that is interrupted, what is left is recognised. It is called after Drain, and stops at
// the first error: where one call hangs, the next one does too.
func (d *Driver) Release(ctx context.Context) error {
	for _, s := range d.all() {
		if err := s.release(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervisor) release(ctx context.Context) error {
	rec, place, err := s.look()
	if err == nil && place == placeTheirs {
		err = fmt.Errorf("%s was not made by rdd; move it away, or remove it yourself", s.dir.Path())
	}
	if err == nil {
		err = s.removeDistribution(ctx)
	}
	if err != nil || place == placeEmpty {
		return err
	}
	rec.Step = stepDeleting
	if err := s.save(*rec); err != nil {
		return err
	}
	_, err = s.dir.Bury()
	return err
}
