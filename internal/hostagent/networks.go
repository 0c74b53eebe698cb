package hostagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/lima-vm/lima/v2/pkg/limatype"
	"github.com/lima-vm/lima/v2/pkg/networks"
	"github.com/lima-vm/lima/v2/pkg/networks/reconcile"
	"github.com/lima-vm/lima/v2/pkg/networks/usernet"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/process"
)

// networksTimeout bounds the start of an instance's networks: Lima waits for a socket for ever.
const networksTimeout = 30 * time.Second

// ensureNetworks starts the networks that the instance wants, in a process of its own whose end orphans them: they serve
// several VMs, and must not be found among the descendants of one.
func ensureNetworks(ctx context.Context, boot control.Boot, inst *limatype.Instance) error {
	if len(networksOf(inst)) == 0 {
		return nil
	}
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	child, err := process.Start(process.Command{
		Path: path, Args: []string{path, "hostagent", "networks", boot.Instance}, Stderr: os.Stderr,
	})
	if err != nil {
		return fmt.Errorf("cannot start the networks: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, networksTimeout)
	defer cancel()
	select {
	case <-child.Done():
		if child.ExitCode() != 0 {
			return fmt.Errorf("cannot start the networks: %s", child.ExitStatus())
		}
		return nil
	case <-ctx.Done():
		killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		defer cancel()
		return errors.Join(fmt.Errorf("cannot start the networks: %w", ctx.Err()), process.KillTree(killing, child.Identity()))
	}
}

func networksOf(inst *limatype.Instance) []string {
	var names []string
	for _, network := range inst.Networks {
		if network.Lima != "" {
			names = append(names, network.Lima)
		}
	}
	return names
}

// startNetworks is the process that ensureNetworks starts. It only ever starts user-mode networks: Lima's own Reconcile
// also stops those that it believes unused, among them those of a VM that is just booting, by PIDs from files. Networks that
// need privileges (macOS) are left to it, because it knows how.
func startNetworks(ctx context.Context, name string) error {
	setUpLima()
	inst, err := inspect(ctx, name)
	if err != nil {
		return err
	}
	config, err := networks.LoadConfig()
	if err != nil {
		return fmt.Errorf("cannot read networks.yaml: %w", err)
	}
	for _, network := range networksOf(inst) {
		userMode, err := config.Usernet(network)
		if err != nil {
			return fmt.Errorf("cannot use network %q: %w", network, err)
		}
		if !userMode {
			if err := reconcile.Reconcile(ctx, name); err != nil {
				return fmt.Errorf("cannot start network %q: %w", network, err)
			}
			continue
		}
		if err := dropStalePIDFile(network); err != nil {
			return err
		}
		if err := usernet.Start(ctx, network); err != nil {
			return fmt.Errorf("cannot start network %q: %w", network, err)
		}
	}
	return nil
}

// dropStalePIDFile removes the PID file of a network on whose socket nobody listens: Lima would take any process with that
// PID for the network.
func dropStalePIDFile(network string) error {
	socket, err := usernet.Sock(network, usernet.QEMUSock)
	if err != nil {
		return fmt.Errorf("cannot tell the socket of network %q: %w", network, err)
	}
	if conn, err := net.DialTimeout("unix", socket, time.Second); err == nil {
		return conn.Close()
	}
	file, err := usernet.PIDFile(network)
	if err != nil {
		return fmt.Errorf("cannot tell the PID file of network %q: %w", network, err)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove a stale PID file: %w", err)
	}
	return nil
}
