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

// A program that is started again finds the process that it had started in an earlier life, and ends it. It would ask first,
// with Interrupt, and wait with a deadline.
func ExampleReadRecord() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "server.pid")

	child, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "60"}})
	if err != nil {
		panic(err)
	}
	if err := process.WriteRecord(path, child.Identity()); err != nil {
		panic(err)
	}

	id, err := process.ReadRecord(path)
	if err != nil {
		panic(err)
	}
	server, err := process.Open(id)
	if errors.Is(err, process.ErrGone) {
		return // whoever wears the PID now, it is not the server
	}
	if err != nil {
		panic(err)
	}
	defer server.Close()
	if err := server.Kill(); err != nil && !errors.Is(err, process.ErrGone) {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := server.Wait(ctx); err != nil {
		panic(err)
	}
	<-child.Done()
	fmt.Println(child.ExitStatus())
	// Output: signal: killed
}

// The PID is right, and the process is not.
func ExampleOpen() {
	id, err := process.Self()
	if err != nil {
		panic(err)
	}
	id.StartTime-- // as if read from an old file

	_, err = process.Open(id)
	var stranger *process.StrangerError
	if errors.As(err, &stranger) {
		fmt.Println("gone:", errors.Is(err, process.ErrGone))
		fmt.Println("the stranger is this process:", stranger.Found.PID == os.Getpid())
	}
	// Output:
	// gone: true
	// the stranger is this process: true
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
