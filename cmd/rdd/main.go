// Command rdd runs local virtual machines under a Kubernetes-style control plane.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-192657fa/rdd/internal/cli"
	"github.com/seed-192657fa/rdd/internal/hostagent"
)

// version is set by the linker.
var version = "0.0.0-dev"

func main() {
	config, err := cli.OfProcess(version, hostagent.Commands())
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // whoever asks a second time means it
	os.Exit(cli.Main(ctx, config))
}
