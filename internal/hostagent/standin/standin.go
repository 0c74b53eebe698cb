// Package standin owns the stand-in for the daemon's children (internal/hostagent), for tests only: it keeps to the same
// protocol, files and ledger, and runs a few cheap processes in place of QEMU and ssh. It is there for what cannot be had of
// real VMs: a hundred of them on two cores, and faults on request (Faults).
//
// Its processes are real, in sessions of their own, and some have lost their parents, so that whatever ends a VM has to find
// them. Its guest has a disk, whose last line tells whether the guest was shut down or shot (Disk). It needs a Unix shell.
package standin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// Main runs what args, those of the process without its name, ask for: "hostagent VERB NAME". It returns when that is done.
func Main(ctx context.Context, args []string) error {
	if len(args) != 3 || args[0] != "hostagent" {
		return fmt.Errorf("cannot run %q: this is a stand-in for \"rdd hostagent VERB NAME\"", args)
	}
	home := os.Getenv("LIMA_HOME")
	if home == "" {
		return errors.New("cannot run without LIMA_HOME")
	}
	faults, err := readFaults(home, args[2])
	if err != nil {
		return err
	}
	s := &standin{dir: instancedir.Dir{Home: home, Name: args[2]}, faults: faults}
	switch args[1] {
	case "create":
		return s.work(ctx, s.create)
	case "apply":
		return s.work(ctx, s.apply)
	case "delete":
		return s.work(ctx, s.delete)
	case "run":
		return s.runAgent(ctx)
	case "driver":
		return s.runDriver()
	}
	return fmt.Errorf("cannot do %q", args[1])
}

// standin is one child.
type standin struct {
	dir    instancedir.Dir
	faults Faults
}

// readBoot waits for the daemon to say what to do.
func (s *standin) readBoot() (control.Boot, error) {
	var boot control.Boot
	err := json.NewDecoder(os.Stdin).Decode(&boot)
	if err == nil && boot.Instance != s.dir.Name {
		err = fmt.Errorf("instance %q", boot.Instance)
	}
	if err == nil && s.faults.speaks() == control.Spoken() { // a stand-in of another build takes any daemon
		_, err = control.Spoken().Agree(boot.Speaks)
	}
	if err != nil {
		return boot, fmt.Errorf("cannot read what to do: %w", err)
	}
	return boot, nil
}

// tell writes a note to the daemon's pipe.
func tell(pipe io.Writer, note control.Note) error {
	text, err := json.Marshal(note)
	if err == nil {
		_, err = pipe.Write(append(text, '\n'))
	}
	return err
}

// work is the frame of every worker. One that has lost its daemon goes no further than its next step.
func (s *standin) work(ctx context.Context, do func(context.Context, control.Boot, io.Writer) error) error {
	pipe, err := process.ExtraFile(0)
	if err != nil {
		return err
	}
	boot, err := s.readBoot()
	if err != nil {
		return errors.Join(err, tell(pipe, control.Note{Failure: err.Error()}))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(errors.New("the daemon is gone"))
	}()
	if err := do(ctx, boot, pipe); err != nil {
		return errors.Join(err, tell(pipe, control.Note{Failure: err.Error()}))
	}
	return tell(pipe, control.Note{Done: true})
}

func (s *standin) create(ctx context.Context, boot control.Boot, pipe io.Writer) error {
	if err := s.step(ctx, CreateBegins); err != nil {
		return err
	}
	_ = tell(pipe, control.Note{Progress: &vm.Progress{Stage: "Creating the instance", Percent: -1}})
	config, err := parse(boot.Template)
	if err != nil {
		return err
	}
	if err := os.Mkdir(s.dir.Path(), 0o700); err != nil {
		return err
	}
	err = os.WriteFile(s.dir.Template(), boot.Template, 0o600)
	if err == nil {
		err = errors.Join(tell(pipe, control.Note{Made: true}), s.step(ctx, CreateHalfDone))
	}
	if err == nil {
		err = os.WriteFile(Disk(s.dir), nil, 0o600)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(s.dir.Path()))
	}
	return errors.Join(tell(pipe, control.Note{Instance: config.describe(s.dir)}), s.step(ctx, CreateEnds))
}

func (s *standin) apply(ctx context.Context, boot control.Boot, pipe io.Writer) error {
	if err := s.step(ctx, ApplyBegins); err != nil {
		return err
	}
	config, err := parse(boot.Template)
	if err != nil {
		return err
	}
	temp := s.dir.Template() + ".tmp"
	if err := os.WriteFile(temp, boot.Template, 0o600); err != nil {
		return err
	}
	if err := os.Rename(temp, s.dir.Template()); err != nil {
		return err
	}
	return errors.Join(tell(pipe, control.Note{Instance: config.describe(s.dir)}), s.step(ctx, ApplyEnds))
}

func (s *standin) delete(ctx context.Context, _ control.Boot, pipe io.Writer) error {
	if err := s.step(ctx, DeleteBegins); err != nil {
		return err
	}
	notices, err := s.dir.Clear(process.Identity{})
	if err != nil {
		return err
	}
	for _, notice := range notices {
		_ = tell(pipe, control.Note{Notice: &notice})
	}
	if _, err := s.dir.Bury(); err != nil {
		return err
	}
	if err := s.step(ctx, DeleteHalfDone); err != nil {
		return err
	}
	return errors.Join(s.dir.EmptyGrave(), s.step(ctx, DeleteEnds))
}

// config is what a stand-in takes from a template.
type config struct {
	CPUs            int      `json:"cpus"`
	Memory          string   `json:"memory"`
	AdditionalDisks []string `json:"additionalDisks"`
	memory          int64
}

var size = regexp.MustCompile(`^(\d+)(MiB|GiB)$`)

func parse(template []byte) (config, error) {
	c := config{CPUs: 4, Memory: "4GiB"}
	if err := yaml.Unmarshal(template, &c); err != nil {
		return c, fmt.Errorf("cannot load the template: %w", err)
	}
	match := size.FindStringSubmatch(c.Memory)
	if match == nil {
		return c, fmt.Errorf("cannot use the template: memory %q", c.Memory)
	}
	number, err := strconv.ParseInt(match[1], 10, 32)
	if err != nil {
		return c, fmt.Errorf("cannot use the template: %w", err)
	}
	c.memory = number << map[string]int{"MiB": 20, "GiB": 30}[match[2]]
	return c, nil
}

func (c config) describe(dir instancedir.Dir) *vm.Instance {
	return &vm.Instance{Directory: dir.Path(), VMType: "qemu", Arch: "x86_64", CPUs: c.CPUs, Memory: c.memory, Disk: 1 << 30}
}

// Disk is the disk of the guest: a line "boot ID" for each boot, and "shutdown ID" where the guest was shut down and not shot.
func Disk(dir instancedir.Dir) string { return filepath.Join(dir.Path(), "disk") }

// Boots returns what happened to the guest, oldest first: for each of its boots, whether it was shut down.
func Boots(dir instancedir.Dir) ([]bool, error) {
	text, err := os.ReadFile(Disk(dir))
	if err != nil {
		return nil, fmt.Errorf("cannot read the guest's disk: %w", err)
	}
	var boots []bool
	last := ""
	for line := range strings.Lines(string(text)) {
		what, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case what == "boot":
			boots, last = append(boots, false), id
		case what == "shutdown" && id == last && !boots[len(boots)-1]:
			boots[len(boots)-1] = true
		default:
			return boots, fmt.Errorf("cannot understand the guest's disk: %q", text)
		}
	}
	return boots, nil
}
