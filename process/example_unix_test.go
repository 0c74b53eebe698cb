//go:build linux || darwin

package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

func ExampleStart() {
	child, err := process.Start(process.Command{Path: "/bin/sh", Args: []string{"sh", "-c", "exit 3"}})
	if err != nil {
		panic(err)
	}
	<-child.Done()
	fmt.Println(child.ExitStatus())
	// Output: exit status 3
}

// A program that is started again finds the process that it had started in an earlier life, asks it to end, and ends it when
// it does not.
func ExampleReadRecord() {
	begin := func(path string) error {
		child, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "60"}})
		if err != nil {
			return err
		}
		return process.WriteRecord(path, child.Identity())
	}
	end := func(ctx context.Context, path string) error {
		id, err := process.ReadRecord(path)
		if err != nil {
			return err
		}
		server, err := process.Open(id)
		if errors.Is(err, process.ErrGone) {
			return nil // whoever wears the PID now, it is not the server
		}
		if err != nil {
			return err
		}
		defer server.Close()
		if err := server.Interrupt(); err != nil && !errors.Is(err, process.ErrGone) {
			return err
		}
		grace, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if server.Wait(grace) == nil {
			return nil
		}
		return process.KillTree(ctx, id)
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "server.pid")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(begin(path), end(ctx, path)); err != nil {
		panic(err)
	}
	id, err := process.ReadRecord(path)
	if err != nil {
		panic(err)
	}
	_, err = process.Open(id)
	fmt.Println("gone:", errors.Is(err, process.ErrGone))
	// Output: gone: true
}

// The PID is right, and the process is not.
func ExampleOpen() {
	self, err := process.Describe(os.Getpid())
	if err != nil {
		panic(err)
	}
	id := self.Identity
	id.StartTime-- // as if read from an old file

	_, err = process.Open(id)
	var stranger *process.StrangerError
	if errors.As(err, &stranger) {
		fmt.Println("left alone:", stranger.Found.Name)
	}
	// Output: left alone: process.test
}

func ExampleKillTree() {
	child, err := process.Start(process.Command{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 60 & sleep 60 & wait"}})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := process.KillTree(ctx, child.Identity()); err != nil {
		panic(err)
	}
	<-child.Done()
	fmt.Println(child.ExitStatus())
	// Output: signal: killed
}

// A supervisor calls Contain before it starts anything. Whoever cleans up after it needs nothing but the ledger.
func ExampleContain() {
	supervisor := func(ctx context.Context, ledger string) error {
		container, err := process.Contain(ledger)
		if err != nil {
			return err
		}
		return container.Track(ctx, nil) // beside the real work
	}
	cleaner := func(ctx context.Context, ledger string) error {
		family, err := process.ReadFamily(ledger)
		if err != nil {
			return err
		}
		return family.Kill(ctx)
	}
	_, _ = supervisor, cleaner
}
