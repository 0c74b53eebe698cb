package instancedir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// networkGrace is what a network that is asked to end gets. It has nothing to save.
const networkGrace = 3 * time.Second

// NetworkRecord is where the process of a user-mode network says who it is: beside the PID file that Lima's tools read.
func NetworkRecord(pidFile string) string { return pidFile + ".json" }

// EndNetworks ends the user-mode networks under home, and waits for them. They serve several VMs, and so belong to none: it is
// for when none of them runs.
func EndNetworks(ctx context.Context, home string) error {
	networks, err := FilesIn(filepath.Join(home, "_networks"), "")
	if err != nil {
		return fmt.Errorf("cannot look for networks: %w", err)
	}
	var files []string
	for _, network := range networks { // one that is no directory has no files
		found, _ := FilesIn(network, NetworkRecord(".pid"))
		files = append(files, found...)
	}
	var errs []error
	for _, file := range files {
		if err := endNetwork(ctx, file); err != nil {
			errs = append(errs, fmt.Errorf("cannot end a network: %w", err))
		}
	}
	return errors.Join(errs...)
}

func endNetwork(ctx context.Context, file string) error {
	id, err := process.ReadRecord(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if handle, err := process.Open(id); err == nil {
		defer handle.Close()
		asked, cancel := context.WithTimeout(ctx, networkGrace)
		defer cancel()
		if handle.Interrupt() != nil || handle.Wait(asked) != nil {
			if err := process.KillTree(ctx, id); err != nil {
				return err
			}
		}
	} else if !errors.Is(err, process.ErrGone) {
		return err
	}
	return remove(file)
}
