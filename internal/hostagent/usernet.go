package hostagent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/lima-vm/lima/v2/pkg/networks/usernet"
	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/collector"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/process"
)

// usernetCommand is what Lima starts, by re-executing this binary, for networks of mode user-v2. Its flags are Lima's.
func usernetCommand() *cobra.Command {
	var opts usernet.GVisorNetstackOpts
	var pidFile string
	cmd := &cobra.Command{
		Use:          "usernet",
		Short:        "Run one of Lima's user-mode networks",
		Args:         cobra.NoArgs,
		Hidden:       true,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			collector.Usual()
			if pidFile != "" {
				if err := createPIDFile(pidFile); err != nil {
					return err
				}
				defer os.Remove(pidFile)
				self, err := process.Self()
				if err != nil {
					return err
				}
				if err := process.WriteRecord(instancedir.NetworkRecord(pidFile), self); err != nil {
					return err
				}
				defer os.Remove(instancedir.NetworkRecord(pidFile))
			}
			for _, socket := range []string{opts.Endpoint, opts.QemuSocket, opts.FdSocket} {
				if err := os.Remove(socket); socket != "" && err != nil && !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("cannot remove an old socket: %w", err)
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return usernet.StartGVisorNetstack(ctx, &opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&pidFile, "pidfile", "p", "", "write the PID to this file")
	flags.StringVarP(&opts.Endpoint, "endpoint", "e", "", "serve the network's API here")
	flags.StringVar(&opts.QemuSocket, "listen-qemu", "", "listen for QEMU here")
	flags.StringVar(&opts.FdSocket, "listen", "", "listen here for descriptors that are passed over")
	flags.StringVar(&opts.Subnet, "subnet", "192.168.5.0/24", "subnet of the network")
	flags.IntVar(&opts.MTU, "mtu", 1500, "MTU of the network")
	flags.StringToStringVar(&opts.DefaultLeases, "leases", nil, "static leases to start with")
	return cmd
}

// createPIDFile refuses one that is there, as Lima's own command does: two networks of one name would fight.
func createPIDFile(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cannot create a PID file: %w", err)
	}
	_, err = file.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("cannot write a PID file: %w", err)
	}
	return nil
}
