// Package vmnet owns the start of those of Lima's networks that need privileges: socket_vmnet, on a Mac. Lima's own Reconcile
// takes a network for running when a file names the PID of any process, and ends those that it believes unused by such PIDs, as
// root. Here a network runs if somebody listens on its socket, and none is ever ended: it serves all VMs that want it.
package vmnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lima-vm/lima/v2/pkg/networks"

	"github.com/seed-192657fa/rdd/process"
)

const (
	// pollPause is how often the socket of a network is tried that has just been started.
	pollPause = 50 * time.Millisecond
	// retryPause is how long to wait before socket_vmnet is started again: at the boot of the machine, macOS may not be ready
	// for it yet.
	retryPause = time.Second
)

// Start starts the network called name unless it runs, and returns when it answers.
func Start(ctx context.Context, config *networks.Config, name string) error {
	if !needed {
		return nil
	}
	if err := trust(ctx, config); err != nil {
		return err
	}
	return ensure(ctx, config, name)
}

func ensure(ctx context.Context, config *networks.Config, name string) error {
	if Answers(config.Sock(name)) {
		return nil
	}
	installed, err := config.IsDaemonInstalled(networks.SocketVMNet)
	if err != nil {
		return fmt.Errorf("cannot look for socket_vmnet: %w", err)
	}
	if !installed {
		return errors.New("socket_vmnet is not installed")
	}
	user, err := config.User(networks.SocketVMNet)
	if err != nil {
		return fmt.Errorf("cannot tell as whom to run socket_vmnet: %w", err)
	}
	made, err := sudo("root", "wheel", config.MkdirCmd(), "", nil)
	if err != nil {
		return err
	}
	select {
	case <-made.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	if made.ExitCode() != 0 {
		return fmt.Errorf("cannot make the directory of the networks with sudo: %s", made.ExitStatus())
	}
	log := config.LogFile(name, networks.SocketVMNet, "stderr")
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of a log: %w", err)
	}
	for {
		err := run(ctx, config, name, user.User, user.Group, log)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return err
		}
	}
}

// run starts socket_vmnet and returns when it answers, or has ended, or ctx is done.
func run(ctx context.Context, config *networks.Config, name, user, group, log string) error {
	output, err := os.Create(log)
	if err != nil {
		return fmt.Errorf("cannot open a log: %w", err)
	}
	defer output.Close()
	// In a directory that its user may read: this one may be private.
	child, err := sudo(user, group, config.StartCmd(name, networks.SocketVMNet), config.Paths.VarRun, output)
	if err != nil {
		return err
	}
	for !Answers(config.Sock(name)) {
		select {
		case <-child.Done():
			return fmt.Errorf("socket_vmnet has ended (%s); see %s", child.ExitStatus(), log)
		case <-ctx.Done():
			return fmt.Errorf("socket_vmnet does not answer; see %s: %w", log, ctx.Err())
		case <-time.After(pollPause):
		}
	}
	return nil
}

// sudo runs one of the commands that Lima's sudoers file allows, which have no quotes and no spaces in their arguments.
func sudo(user, group, command, dir string, output *os.File) (*process.Child, error) {
	path, err := exec.LookPath("sudo")
	if err != nil {
		return nil, fmt.Errorf("cannot find sudo: %w", err)
	}
	args := []string{path, "--user", user, "--group", group, "--non-interactive"}
	return process.Start(process.Command{
		Path: path, Args: append(args, strings.Split(command, " ")...), Dir: dir, Stdout: output, Stderr: output,
	})
}

// Answers tells whether somebody listens on the socket of a network.
func Answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
