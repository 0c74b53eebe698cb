// Package wsl owns rdd's calls of wsl.exe: which distributions there are, and how one is ended and removed. It compiles
// everywhere, because all that it needs of Windows is a program.
//
// A degraded WSL does not fail, it hangs, and it may hang in any call. So each call has a deadline, after which wsl.exe is
// ended with all that it has started, and ErrNoAnswer says so. Nothing here waits for WSL to recover.
package wsl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-192657fa/rdd/internal/probe"
	"github.com/seed-192657fa/rdd/process"
)

// program is what is looked for in PATH.
const program = "wsl.exe"

// Timeout is what one call of wsl.exe is given unless CLI says otherwise. The service may have to start first, and to
// remove a distribution takes the time that it takes to delete its disk.
const Timeout = 30 * time.Second

const (
	// killTimeout bounds the wait for a wsl.exe to be gone that was killed.
	killTimeout = 5 * time.Second
	// maxOutput bounds what is read of an answer, in bytes.
	maxOutput = 1 << 20
	// maxQuote bounds how much of an answer an error repeats, in bytes.
	maxQuote = 300
)

var (
	// ErrNoAnswer says that WSL hangs.
	ErrNoAnswer = errors.New("WSL does not answer")
	// ErrMissing says that there is no wsl.exe.
	ErrMissing = errors.New("WSL is not installed")
)

// CLI is an installed wsl.exe.
type CLI struct {
	path    string
	env     []string
	timeout time.Duration
}

// Find looks for wsl.exe in the PATH of env, and returns ErrMissing if it is not there. Each call is given timeout; zero means
// Timeout.
func Find(env []string, timeout time.Duration) (CLI, error) {
	if timeout == 0 {
		timeout = Timeout
	}
	path, err := probe.LookPath(program, env)
	if err != nil {
		return CLI{}, fmt.Errorf(`%w: there is no %s in PATH; run "wsl --install" as an administrator`, ErrMissing, program)
	}
	return CLI{path: path, env: env, timeout: timeout}, nil
}

// Has tells whether a distribution is registered, in whatever state.
func (c CLI) Has(ctx context.Context, distribution string) (bool, error) {
	all, err := c.List(ctx)
	return slices.ContainsFunc(all, func(name string) bool { return strings.EqualFold(name, distribution) }), err
}

// List names all registered distributions, those too that are being installed or removed.
func (c CLI) List(ctx context.Context) ([]string, error) {
	// The verbose list has headings and states in the language of the user; this one has names only.
	answer, err := c.run(ctx, "--list", "--all", "--quiet")
	if err != nil {
		if isEmptyList(answer) {
			return nil, nil
		}
		return nil, fmt.Errorf("cannot list the WSL distributions: %w", err)
	}
	if strings.ContainsRune(answer, utf8.RuneError) {
		return nil, fmt.Errorf("cannot list the WSL distributions: %s answers what is no list: %s", program, quote(answer))
	}
	return names(answer), nil
}

// Terminate ends a distribution, if there is one of that name.
func (c CLI) Terminate(ctx context.Context, distribution string) error {
	exists, err := c.Has(ctx, distribution)
	if err == nil && exists {
		_, err = c.run(ctx, "--terminate", distribution)
	}
	if err != nil {
		return fmt.Errorf("cannot end WSL distribution %s: %w", distribution, err)
	}
	return nil
}

// Unregister removes a distribution with its disk, if there is one of that name. It is ended first: one that only looks
// stopped can hold state in the kernel that blocks the whole service when its disk is taken away.
func (c CLI) Unregister(ctx context.Context, distribution string) error {
	exists, err := c.Has(ctx, distribution)
	if err == nil && exists {
		_, err = c.run(ctx, "--terminate", distribution)
	}
	if err == nil && exists {
		_, err = c.run(ctx, "--unregister", distribution)
	}
	if err != nil {
		return fmt.Errorf("cannot remove WSL distribution %s: %w", distribution, err)
	}
	return nil
}

// run returns what wsl.exe answers. If it fails, the answer comes with the error.
func (c CLI) run(ctx context.Context, args ...string) (answer string, err error) {
	// A file, because whatever wsl.exe leaves running would hold a pipe open.
	output, err := os.CreateTemp("", "rdd-wsl-*")
	if err != nil {
		return "", err
	}
	defer func() {
		_ = output.Close()
		_ = os.Remove(output.Name())
	}()
	child, err := process.Start(process.Command{
		Path: c.path, Args: append([]string{c.path}, args...), Env: c.env, Stdout: output, Stderr: output,
	})
	if err != nil {
		return "", err
	}
	if err := c.await(ctx, child, args); err != nil {
		return "", err
	}
	raw, err := io.ReadAll(io.NewSectionReader(output, 0, maxOutput))
	if err != nil {
		return "", fmt.Errorf("cannot read the answer of %s: %w", program, err)
	}
	answer = decode(raw)
	if child.ExitCode() != 0 {
		return answer, fmt.Errorf("%s %s: %s: %s", program, args[0], child.ExitStatus(), quote(answer))
	}
	return answer, nil
}

// await returns when the child has ended. One that does not is ended.
func (c CLI) await(ctx context.Context, child *process.Child, args []string) error {
	timer := time.NewTimer(c.timeout)
	defer timer.Stop()
	var cause error
	select {
	case <-child.Done():
		return nil
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-timer.C:
		cause = fmt.Errorf(`%w: "%s %s" did not end within %v; run "wsl --shutdown", which ends all distributions, or restart Windows if that hangs too`,
			ErrNoAnswer, program, args[0], c.timeout)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	return errors.Join(cause, process.KillTree(ctx, child.Identity()))
}
