package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/test/guest"
)

const (
	commandTime = 5 * time.Minute
	cleanUpTime = time.Minute
)

// rdd is one instance of the binary that is measured, with a home directory of its own.
type rdd struct {
	binary string
	home   string
	name   string
}

func (r rdd) instance(name string) rdd {
	// The port follows from the name, which must not meet that of somebody's own instance.
	r.name = fmt.Sprintf("bench-%d-%s", os.Getpid(), name)
	return r
}

func (r rdd) env() []string {
	return []string{
		"HOME=" + r.home, "RDD_INSTANCE=" + r.name,
		"XDG_DATA_HOME=" + filepath.Join(r.home, "data"), "XDG_STATE_HOME=" + filepath.Join(r.home, "state"),
		"XDG_CACHE_HOME=" + filepath.Join(r.home, "cache"), "XDG_CONFIG_HOME=" + filepath.Join(r.home, "config"),
	}
}

func (r rdd) run(ctx context.Context, args ...string) error {
	_, err := output(ctx, r.env(), r.binary, args...)
	return err
}

func (r rdd) start(ctx context.Context) error { return r.run(ctx, "limavm", "start", vmName) }
func (r rdd) stop(ctx context.Context) error  { return r.run(ctx, "limavm", "stop", vmName) }

// daemon returns the PID of the running daemon.
func (r rdd) daemon(ctx context.Context) (int, error) {
	text, err := output(ctx, r.env(), r.binary, "svc", "status", "-o", "json")
	if err != nil {
		return 0, err
	}
	var status struct{ PID int }
	if err := json.Unmarshal(text, &status); err != nil {
		return 0, fmt.Errorf("cannot read the status of the control plane: %w", err)
	}
	return status.PID, nil
}

type host struct {
	PID       int `json:"pid"`
	DriverPID int `json:"driverPID"`
}

func (r rdd) host(ctx context.Context) (host, error) {
	text, err := output(ctx, r.env(), r.binary, "ctl", "get", "limavm", vmName, "-o", "json")
	if err != nil {
		return host{}, err
	}
	var vm struct{ Status struct{ Host host } }
	if err := json.Unmarshal(text, &vm); err != nil {
		return host{}, fmt.Errorf("cannot read the VM: %w", err)
	}
	return vm.Status.Host, nil
}

func (r rdd) agent(ctx context.Context) (int, error) {
	host, err := r.host(ctx)
	return host.PID, err
}

// emulated tells whether the running VM's QEMU does without KVM.
func (r rdd) emulated(ctx context.Context) (bool, error) {
	host, err := r.host(ctx)
	if err != nil {
		return false, err
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", host.DriverPID))
	if err != nil {
		return false, fmt.Errorf("cannot tell how QEMU runs: %w", err)
	}
	return bytes.Contains(line, []byte("tcg")), nil
}

// remove deletes the instance, also when what was measured has failed or was interrupted.
func (r rdd) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpTime)
	defer cancel()
	return r.run(ctx, "svc", "delete")
}

// limaAlone is Lima's own command, which knows nothing of rdd.
type limaAlone struct {
	prefix   string
	home     string
	emulated bool
}

func (l limaAlone) run(ctx context.Context, args ...string) error {
	words := slices.Concat([]string{filepath.Join(l.prefix, "bin", "limactl"), "--tty=false"}, args)
	if os.Getuid() == 0 { // limactl refuses root
		words = slices.Concat([]string{"unshare", "--user", "--map-user=1000", "--map-group=1000", "--"}, words)
	}
	env := []string{"HOME=" + l.home, "LIMA_HOME=" + filepath.Join(l.home, "lima")}
	if l.emulated {
		env = append(env, guest.Env()...)
	}
	_, err := output(ctx, env, words[0], words[1:]...)
	return err
}

func (l limaAlone) start(ctx context.Context) error { return l.run(ctx, "start", vmName) }
func (l limaAlone) stop(ctx context.Context) error  { return l.run(ctx, "stop", vmName) }

func (l limaAlone) agent(context.Context) (int, error) {
	text, err := os.ReadFile(filepath.Join(l.home, "lima", vmName, "ha.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func (l limaAlone) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpTime)
	defer cancel()
	return l.run(ctx, "delete", "--force", vmName)
}

// output runs a program, with more environment, to its end. The error of one that fails holds what it said.
func output(ctx context.Context, env []string, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	// Files, not pipes: what a command leaves running in the background would keep a pipe open, and us waiting.
	files, err := os.MkdirTemp("", "rddb-output-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(files)
	stdout, err := os.Create(filepath.Join(files, "stdout"))
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.Create(filepath.Join(files, "stderr"))
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(cmd.Environ(), env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err = cmd.Run()
	printed, readErr := os.ReadFile(stdout.Name())
	if err != nil {
		said, _ := os.ReadFile(stderr.Name())
		return nil, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), errors.Join(ctx.Err(), err), bytes.TrimSpace(said))
	}
	return printed, readErr
}
