// Command bench owns the figures that rdd is held to: it measures the real binary, next to Lima alone on the same machine in the
// same run, and prints what was measured beside what must be. test/bench/run builds what it compares with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/seed-192657fa/rdd/test/guest"
)

type options struct {
	binary string
	lima   string
	many   string
	output string
	repeat int
	idle   time.Duration
	settle time.Duration
	check  bool
}

func main() {
	var opts options
	flag.StringVar(&opts.binary, "rdd", "bin/rdd", "the binary to measure")
	flag.StringVar(&opts.lima, "lima", "", "where Lima is installed, to compare with")
	flag.StringVar(&opts.many, "many", "", "the daemon whose VMs are stand-ins (test/daemon), with that program beside it, for what takes many VMs")
	flag.StringVar(&opts.output, "o", "dist/bench.json", "write the figures, with all samples, to this file as JSON; empty for none")
	flag.IntVar(&opts.repeat, "n", 5, "how often each thing is measured; the median counts")
	flag.DurationVar(&opts.idle, "idle", time.Minute, "how long the idle daemon is left alone before its memory, and then its CPU, is measured")
	flag.DurationVar(&opts.settle, "settle", 5*time.Second, "how long a VM runs before its agent is measured and it is stopped")
	flag.BoolVar(&opts.check, "check", false, "exit with 1 when a figure misses its mark")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, opts)
	stop()
	os.Exit(code) //nolint:forbidigo // this is main
}

func run(ctx context.Context, opts options) int {
	report, err := measure(ctx, opts)
	if report != nil {
		report.print(os.Stdout)
		if opts.output != "" {
			err = errors.Join(err, report.write(opts.output))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	if opts.check && !report.allMet() {
		return 1
	}
	return 0
}

// measure runs everything. What was measured before an error is in the report.
func measure(ctx context.Context, opts options) (_ *report, err error) {
	binary, err := filepath.Abs(opts.binary)
	if err != nil {
		return nil, err
	}
	built, err := guest.Build(ctx)
	if err != nil {
		return nil, err
	}
	// Short, because socket paths lie below.
	root, err := os.MkdirTemp("/tmp", "rddb")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()

	bench := &bench{
		options: opts, template: filepath.Join(built.Dir, "guest.yaml"), report: newReport(),
		rdd: rdd{binary: binary, home: filepath.Join(root, "rdd")},
		// Lima keeps its home apart from rdd's.
		alone: limaAlone{prefix: opts.lima, home: filepath.Join(root, "lima")},
	}
	for _, dir := range []string{bench.rdd.home, bench.alone.home} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	return bench.report, bench.all(ctx)
}
