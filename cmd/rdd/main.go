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
	_ "github.com/seed-192657fa/rdd/internal/late/controllermetrics"
	_ "github.com/seed-192657fa/rdd/internal/late/groups"
	_ "github.com/seed-192657fa/rdd/internal/late/metrics"
	"github.com/seed-192657fa/rdd/internal/version"
)

func main() {
	config, err := cli.OfProcess(version.Current, hostagent.Commands())
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // whoever asks a second time means it
	os.Exit(cli.Main(ctx, config))
}
