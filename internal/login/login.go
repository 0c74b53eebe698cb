// Package login owns what starts the control plane when its user logs in: units of systemd, an agent of launchd, or a task of
// Windows, written for one rdd instance. All of them leave VMs alone when the control plane is restarted, as far as the system lets
// them, and all but Windows, which asks nobody then, have VMs shut down when the user's session ends.
package login

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/seed-192657fa/rdd/internal/durable"
)

// commandTime bounds each call of the system's own programs.
const commandTime = 30 * time.Second

// Spec says what is to be started.
type Spec struct {
	// Instance is the name of the rdd instance, which is checked: safe in names of files and units.
	Instance string
	// Executable is the absolute path of rdd.
	Executable string
	// Home is the user's home directory, ConfigHome where the user's configuration is (~/.config).
	Home, ConfigHome string
	// Stdout and Stderr are the files that the output goes to.
	Stdout, Stderr string
	// Environ are the variables that the control plane is to have, "KEY=value", because its directories and programs depend on
	// them: a session that begins has not what a shell's start files set.
	Environ []string
	// ExitRunning is the exit code of a control plane that finds another at work: there is no use in starting it again.
	ExitRunning int
}

// File is one that the system reads.
type File struct {
	Path    string
	Content string
}

// Plan is all that it takes.
type Plan struct {
	Files []File
	// Enable are the commands that make the system notice the files, and start the control plane; Disable those that have it
	// forget about them, before they are removed. What runs goes on.
	Enable, Disable [][]string
	// Unload are the commands that have the system let go of what it has read, where it would not read it again otherwise. They end
	// what it has started: whoever wants that to go on leaves them out. Exit codes in notLoaded say that there was nothing.
	Unload    [][]string
	notLoaded []int
	// Start are the commands that start the control plane as at a login; none where nothing would come of it but what happens
	// without: it belongs to nobody.
	Start [][]string
	// Halt are the commands that keep the system from starting again what has failed.
	Halt [][]string
	// program is how the first file names the program that it starts.
	program string
}

// Install carries a plan out. Run again, it replaces what was there. The control plane must not run: Unload would end it.
func Install(ctx context.Context, plan Plan) error {
	for _, file := range plan.Files {
		if err := os.MkdirAll(filepath.Dir(file.Path), 0o700); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
		if err := durable.WriteFile(file.Path, encode(file.Content), 0o600); err != nil {
			return fmt.Errorf("cannot install %s: %w", file.Path, err)
		}
	}
	err := unload(ctx, plan)
	for _, command := range plan.Enable {
		if err == nil {
			err = run(ctx, command)
		}
	}
	if err != nil {
		return fmt.Errorf("the files are installed, but not in use: %w", err)
	}
	return nil
}

// Uninstall takes a plan back, and tells whether there was anything.
func Uninstall(ctx context.Context, plan Plan) (was bool, err error) {
	for _, file := range plan.Files {
		if _, err := os.Stat(file.Path); err == nil {
			was = true
		}
	}
	if !was {
		return false, nil
	}
	errs := []error{unload(ctx, plan)}
	for _, command := range plan.Disable {
		errs = append(errs, run(ctx, command))
	}
	for _, file := range plan.Files { // also where the system does not answer: without files it starts nothing
		if err := os.Remove(file.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot uninstall: %w", err))
		}
	}
	return true, errors.Join(errs...)
}

// Start has the system start the control plane, and tells whether it does: not where the plan was never carried out, where it was
// for another program than this plan's, or where the system does not answer.
func Start(ctx context.Context, plan Plan) bool {
	if len(plan.Start) == 0 || !installed(plan) {
		return false
	}
	for _, command := range plan.Start {
		if run(ctx, command) != nil {
			return false
		}
	}
	return true
}

// Halt keeps the system from starting the control plane again after it was ended by force, which the system takes for a crash.
func Halt(ctx context.Context, plan Plan) error {
	if !installed(plan) {
		return nil
	}
	return tolerant(ctx, plan, plan.Halt)
}

// installed tells whether the plan was carried out, for the same program.
func installed(plan Plan) bool {
	content, err := os.ReadFile(plan.Files[0].Path)
	return err == nil && bytes.Contains(content, []byte(plan.program))
}

// Describe shows what Install would do.
func Describe(plan Plan) string {
	var text strings.Builder
	for _, file := range plan.Files {
		fmt.Fprintf(&text, "# %s\n%s\n", file.Path, file.Content)
	}
	for _, command := range slices.Concat(plan.Unload, plan.Enable) {
		fmt.Fprintf(&text, "$ %s\n", strings.Join(command, " "))
	}
	return text.String()
}

func unload(ctx context.Context, plan Plan) error { return tolerant(ctx, plan, plan.Unload) }

// tolerant runs commands that may find nothing loaded.
func tolerant(ctx context.Context, plan Plan, commands [][]string) error {
	for _, command := range commands {
		err := run(ctx, command)
		var status *exec.ExitError
		if err != nil && !(errors.As(err, &status) && slices.Contains(plan.notLoaded, status.ExitCode())) {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, command []string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// fill fills a template in, with functions that quote for its language.
func fill(text string, quote template.FuncMap, data any) (string, error) {
	parsed, err := template.New("").Funcs(quote).Parse(text)
	if err != nil {
		return "", fmt.Errorf("cannot read a template: %w", err)
	}
	var filled bytes.Buffer
	if err := parsed.Execute(&filled, data); err != nil {
		return "", fmt.Errorf("cannot fill a template in: %w", err)
	}
	return filled.String(), nil
}
