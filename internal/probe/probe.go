// Package probe owns short looks at the host that only a program can take: it runs one, with a deadline, and tells what came
// of it. The program is searched in the PATH of the children of rdd, because that is where Lima will search for it.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

const (
	// killTimeout bounds the wait for the end of a program that was killed.
	killTimeout = 5 * time.Second
	// outputLimit is how much of a program's output is kept, in bytes.
	outputLimit = 64 << 10
)

// Result is what came of a program.
type Result struct {
	// Output is the start of what it printed, to both streams.
	Output string
	// ExitCode is that of the program; -1 when a signal ended it.
	ExitCode int
	// Status is the same in words: "exit status 1".
	Status string
}

// Run runs a program until it ends or timeout has passed; then it is killed with all its descendants, and that is the error.
// An exit code that is not zero is no error.
func Run(ctx context.Context, timeout time.Duration, env []string, program string, args ...string) (Result, error) {
	dir, err := os.MkdirTemp("", "rdd-probe-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	// A file and not a pipe: a descendant that holds a pipe open would have to be waited for.
	log := filepath.Join(dir, "output")
	output, err := os.Create(log)
	if err != nil {
		return Result{}, err
	}
	defer output.Close()
	child, err := process.Start(process.Command{
		Path: program, Args: append([]string{program}, args...), Env: env, Stdout: output, Stderr: output,
	})
	if err != nil {
		return Result{}, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-child.Done():
	case <-timer.C:
		err = fmt.Errorf("it hung for %v", timeout)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		defer cancel()
		return Result{}, errors.Join(err, process.KillTree(ctx, child.Identity()))
	}
	text, err := readStart(log)
	return Result{Output: text, ExitCode: child.ExitCode(), Status: child.ExitStatus()}, err
}

func readStart(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, outputLimit))
	return string(text), err
}

// FirstLine is the first line that says something.
func FirstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}

// LookPath searches for a program in the PATH of env, not in our own. The error is exec.ErrNotFound.
func LookPath(program string, env []string) (string, error) {
	for _, entry := range env {
		name, path, _ := strings.Cut(entry, "=")
		if !strings.EqualFold(name, "PATH") { // Windows calls it Path
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			if full, err := exec.LookPath(filepath.Join(dir, program)); err == nil && filepath.IsAbs(full) {
				return full, nil
			}
		}
	}
	return "", exec.ErrNotFound
}
