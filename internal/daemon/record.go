package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/seed-192657fa/rdd/internal/durable"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

// Record says who serves an instance.
type Record struct {
	process.Identity
	// Address is where the API listens: "127.0.0.1:6445". Empty until Ready.
	Address string `json:"address,omitempty"`
	// Version of the daemon.
	Version string `json:"version"`
	// Executable is the file that the daemon runs; Build tells that file from others of the same version.
	Executable string `json:"executable"`
	Build      string `json:"build,omitempty"`
	// Session are the flags that hold for this daemon only, not for the next.
	Session   []string  `json:"session,omitempty"`
	StartedAt time.Time `json:"startedAt"`
	// Ready is when the daemon was ready; nil before.
	Ready *time.Time `json:"ready,omitempty"`
	// Stopping is when it was asked to end; nil before.
	Stopping *time.Time `json:"stopping,omitempty"`
	// StopBy is when it will have ended, at the latest, if it is well; nil before it was asked.
	StopBy *time.Time `json:"stopBy,omitempty"`
	// KeepVMs: it was asked to leave its VMs to the next daemon.
	KeepVMs bool `json:"keepVMs,omitempty"`
	// Failure is what went wrong when it ended as it was asked to. Only then does the record outlive its daemon that was not killed.
	Failure string `json:"failure,omitempty"`
}

// Serves tells whether the daemon is ready, and is not about to end.
func (r *Record) Serves() bool { return r != nil && r.Ready != nil && r.Stopping == nil }

// Find returns the record of the living daemon of an instance, or nil when there is none.
func Find(inst instance.Instance) (*Record, error) {
	record, err := readRecord(inst)
	if err != nil || record == nil {
		return nil, err
	}
	handle, err := process.Open(record.Identity)
	if errors.Is(err, process.ErrGone) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell whether the daemon with PID %d runs: %w", record.PID, err)
	}
	return record, handle.Close()
}

func readRecord(inst instance.Instance) (*Record, error) {
	content, err := os.ReadFile(inst.RecordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read who serves instance %q: %w", inst.Name, err)
	}
	var record Record
	// The file is written whole or not at all, so one that cannot be read is nobody's: a living daemon still holds the lock.
	if err := json.Unmarshal(content, &record); err == nil && !record.IsZero() {
		return &record, nil
	}
	return nil, nil
}

func writeRecord(inst instance.Instance, record *Record) error {
	content, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the daemon's record: %w", err)
	}
	if err := writeFile(inst.RecordFile(), append(content, '\n')); err != nil {
		return err
	}
	return writeFile(inst.PIDFile(), []byte(strconv.Itoa(record.PID)+"\n"))
}

// removeRecord is called with the lock held: the files are ours, or a dead daemon's.
func removeRecord(inst instance.Instance) error {
	var errs []error
	for _, file := range []string{inst.RecordFile(), inst.PIDFile()} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot remove the daemon's record: %w", err))
		}
	}
	return errors.Join(errs...)
}

func writeFile(path string, content []byte) error {
	if err := durable.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
