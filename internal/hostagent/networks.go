package hostagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lima-vm/lima/v2/pkg/limatype"
	"github.com/lima-vm/lima/v2/pkg/limatype/dirnames"
	"github.com/lima-vm/lima/v2/pkg/lockutil"
	"github.com/lima-vm/lima/v2/pkg/networks"
	"github.com/lima-vm/lima/v2/pkg/networks/usernet"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/hostagent/vmnet"
	"github.com/seed-192657fa/rdd/process"
)

const (
	// networksTimeout bounds the start of an instance's networks: Lima waits for a socket for ever.
	networksTimeout = 30 * time.Second
	// networkPause is how often a network is tried that has just been started.
	networkPause = 20 * time.Millisecond
)

// ensureNetworks starts the networks that the instance wants, in a process of its own whose end orphans them: they serve
// several VMs, and must not be found among the descendants of one. What that process has to tell goes to to.
func ensureNetworks(ctx context.Context, boot control.Boot, inst *limatype.Instance, to teller) error {
	if len(networksOf(inst)) == 0 {
		return nil
	}
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer reader.Close()
	child, err := process.Start(process.Command{
		Path: path, Args: []string{path, "hostagent", "networks", boot.Instance}, Stderr: os.Stderr, ExtraFiles: []*os.File{writer},
	})
	_ = writer.Close()
	if err != nil {
		return fmt.Errorf("cannot start the networks: %w", err)
	}
	failure := make(chan string, 1)
	go func() { failure <- relay(reader, to) }()
	ctx, cancel := context.WithTimeout(ctx, networksTimeout)
	defer cancel()
	select {
	case <-child.Done():
	case <-ctx.Done():
		killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		defer cancel()
		return errors.Join(fmt.Errorf("cannot start the networks: %w", ctx.Err()), process.KillTree(killing, child.Identity()))
	}
	if child.ExitCode() == 0 {
		return nil
	}
	if why := <-failure; why != "" {
		return errors.New(why)
	}
	return fmt.Errorf("cannot start the networks: %s", child.ExitStatus())
}

// relay passes notes on until their writer is gone, and returns the failure among them.
func relay(from io.Reader, to teller) (failure string) {
	notes := json.NewDecoder(from)
	for {
		var note control.Note
		if err := notes.Decode(&note); err != nil {
			return failure
		}
		if note.Failure != "" {
			failure = note.Failure
			continue
		}
		_ = to.Note(note)
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

// startNetworks is the process that ensureNetworks starts.
func startNetworks(ctx context.Context, name string) error {
	setUpLima()
	to, err := openPipe()
	if err != nil {
		return err
	}
	dir, err := dirnames.LimaNetworksDir()
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		// One at a time: between the start of a network and its first answer, another VM would take it for dead.
		err = lockutil.WithDirLock(dir, func() error { return startNetworksOf(ctx, name, to) })
	}
	if err != nil {
		_ = to.Note(control.Note{Failure: oneLine(err)})
	}
	return err
}

// startNetworksOf starts each network by itself. Lima's Reconcile would also stop those that it believes unused, among them
// those of a VM that is just booting, by PIDs from files.
func startNetworksOf(ctx context.Context, name string, to teller) error {
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
		switch {
		case err != nil:
			return fmt.Errorf("cannot use network %q: %w", network, err)
		case userMode:
			err = startUserMode(ctx, network, to)
		default:
			err = vmnet.Start(ctx, &config, network)
		}
		if err != nil {
			return fmt.Errorf("cannot start network %q: %w", network, err)
		}
	}
	return nil
}

// startUserMode starts a network unless it answers, and returns when it does.
func startUserMode(ctx context.Context, network string, to teller) error {
	socket, err := usernet.Sock(network, usernet.QEMUSock)
	if err != nil {
		return err
	}
	if vmnet.Answers(socket) {
		return nil
	}
	// Lima would take any process with the PID in this file for the network.
	file, err := usernet.PIDFile(network)
	if err != nil {
		return err
	}
	notice, err := instancedir.ClearPIDFile(file)
	if err != nil {
		return err
	}
	if notice != nil {
		_ = to.Note(control.Note{Notice: notice})
	}
	if err := usernet.Start(ctx, network); err != nil {
		return err
	}
	for !vmnet.Answers(socket) {
		select {
		case <-time.After(networkPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
