// Command daemon is rdd, all of it but the VMs: these are stand-ins, run by the program "standin" beside it. Tests and
// benchmarks use it for what takes many VMs, or deaths that real ones are too slow for.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/seed-192657fa/rdd/internal/cli"
)

func main() {
	config, err := cli.OfProcess("0.0.0-standin", nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
	config.Agents = filepath.Join(filepath.Dir(config.Executable), "standin")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // whoever asks a second time means it
	os.Exit(cli.Main(ctx, config))
}
