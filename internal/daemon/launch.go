package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

// Launching says how to start a daemon in the background.
type Launching struct {
	Instance instance.Instance
	// Executable is rdd itself; Args make it call Serve with an Announcer on the first inherited file.
	Executable string
	Args       []string
	Environ    []string
	// NoWait returns as soon as the process has been started.
	NoWait bool
	// Service has the system start the daemon, and tells whether it does; nil where it never does. It is not asked with NoWait.
	Service func(ctx context.Context) bool
}

// pollRecord is how often the record of a daemon that somebody else launched is read, until that daemon is ready.
const pollRecord = 20 * time.Millisecond

// Launch starts the daemon in the background and returns when it is ready. Where one is running, or wins the race, that one
// is waited for, must answer, and is returned; launched tells whether it was ours. When ctx ends, the daemon goes on starting.
// With NoWait there is no record of a daemon that was launched.
func Launch(ctx context.Context, l Launching) (record *Record, launched bool, err error) {
	record, err = Find(l.Instance)
	if err == nil && record != nil && record.Stopping != nil {
		record, err = nil, awaitEnd(ctx, record)
	}
	if err == nil && record.Serves() && !l.NoWait {
		record, err = awaitAnswer(ctx, l.Instance, record)
	}
	switch {
	case err != nil:
		return nil, false, err
	case record.Serves() || record != nil && l.NoWait:
		return record, false, nil
	case record != nil:
		record, err = awaitReady(ctx, l.Instance)
		return record, false, err
	}
	if err := l.Instance.CheckSocketPaths(); err != nil {
		return nil, false, err
	}
	if err := MakeDirs(l.Instance); err != nil {
		return nil, false, err
	}
	if l.Service != nil && !l.NoWait && l.Service(ctx) {
		if record, err = awaitReady(ctx, l.Instance); err == nil || ctx.Err() != nil {
			return record, true, err
		}
	}
	heard, err := spawn(ctx, l) // also where the system's attempt failed: this one tells why
	if err != nil || l.NoWait {
		return nil, err == nil, err
	}
	if !heard.Ready && !heard.Running {
		return nil, false, errors.New(heard.Error)
	}
	record, err = awaitReady(ctx, l.Instance)
	return record, heard.Ready, err
}

func spawn(ctx context.Context, l Launching) (outcome, error) {
	hearing, telling, err := os.Pipe()
	if err != nil {
		return outcome{}, fmt.Errorf("cannot start the daemon: %w", err)
	}
	defer hearing.Close()
	child, err := startDetached(l, telling)
	telling.Close()
	if err != nil {
		return outcome{}, fmt.Errorf("cannot start the daemon: %w", err)
	}
	if l.NoWait {
		return outcome{}, nil
	}
	type heard struct {
		outcome
		err error
	}
	result := make(chan heard, 1)
	go func() {
		o, err := hear(hearing)
		result <- heard{o, err}
	}()
	select {
	case <-ctx.Done():
		return outcome{}, fmt.Errorf("the daemon goes on starting in the background: %w", context.Cause(ctx))
	case h := <-result:
		if h.err == nil {
			return h.outcome, nil
		}
	}
	// The pipe was closed without a word, so the child has ended or is about to.
	select {
	case <-child.Done():
	case <-ctx.Done():
	}
	return outcome{}, fmt.Errorf("the daemon ended while it started (%s); see %s", child.ExitStatus(), l.Instance.StderrLog())
}

func startDetached(l Launching, telling *os.File) (*process.Child, error) {
	var files []*os.File
	defer func() {
		for _, file := range files {
			_ = file.Close()
		}
	}()
	for _, path := range []string{l.Instance.StdoutLog(), l.Instance.StderrLog()} {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return process.Start(process.Command{
		Path: l.Executable,
		Args: append([]string{l.Executable}, l.Args...),
		Env:  l.Environ,
		// The directory in which the user happens to be may go away, or be in the way of an unmount.
		Dir:    filepath.Dir(l.Instance.ShortDir),
		Stdout: files[0], Stderr: files[1],
		ExtraFiles: []*os.File{telling},
	})
}

// awaitEnd waits for a daemon that is ending, so that another can follow.
func awaitEnd(ctx context.Context, record *Record) error {
	handle, err := process.Open(record.Identity)
	if errors.Is(err, process.ErrGone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot wait for the end of the daemon with PID %d: %w", record.PID, err)
	}
	defer handle.Close()
	if err := handle.Wait(ctx); err != nil {
		return fmt.Errorf("the daemon with PID %d is still stopping: %w", record.PID, err)
	}
	return nil
}

// answerTimeout bounds what a daemon gets to answer, and then to be gone.
const answerTimeout = 15 * time.Second

// awaitAnswer returns the record of a daemon that answers, and nil when it has ended: one that was killed a moment ago looks alive until
// the system has taken it apart. One that does neither hangs, and serves nobody.
func awaitAnswer(ctx context.Context, inst instance.Instance, record *Record) (*Record, error) {
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // nothing is said, and nothing believed
	connection, silent := dialer.DialContext(asking, "tcp", record.Address)
	if silent == nil {
		return record, connection.Close()
	}
	now, err := Find(inst)
	if err != nil {
		return nil, err
	}
	if now != nil && now.Stopping != nil {
		return nil, awaitEnd(ctx, now)
	}
	ending, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := awaitEnd(ending, record); err != nil {
		return nil, fmt.Errorf("the control plane of instance %q (PID %d) does not answer (%v); \"rdd svc restart\" replaces it, and leaves the VMs "+
			"running", inst.Name, record.PID, silent)
	}
	return nil, nil
}

// awaitReady waits for a daemon that somebody else launched.
func awaitReady(ctx context.Context, inst instance.Instance) (*Record, error) {
	ticker := time.NewTicker(pollRecord)
	defer ticker.Stop()
	misses := 0
	for {
		record, err := Find(inst)
		switch {
		case err != nil:
			return nil, err
		case record.Serves():
			return record, nil
		case record == nil:
			// Between taking the lock and writing its record, a daemon cannot be seen.
			if misses++; misses > 100 {
				return nil, fmt.Errorf("the daemon that another process started has ended; see %s", inst.StderrLog())
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the daemon goes on starting in the background: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
