package standin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/process"
)

// Faults tell the children of one instance how to misbehave. The zero value is a healthy VM.
type Faults struct {
	// At is what happens at a step.
	At map[Step]Action `json:"at,omitempty"`
	// BootTime is from the driver's start to Running.
	BootTime time.Duration `json:"bootTime,omitempty"`
	// Degraded is what does not work once it runs.
	Degraded []string `json:"degraded,omitempty"`
	// IgnoreStop: the control socket takes requests to stop, and nothing happens.
	IgnoreStop bool `json:"ignoreStop,omitempty"`
	// IgnoreSignals: nothing happens for SIGINT and SIGTERM either.
	IgnoreSignals bool `json:"ignoreSignals,omitempty"`
	// Mute: the control socket accepts, and never answers.
	Mute bool `json:"mute,omitempty"`
	// IgnorePower: the guest does not shut down when its power button is pressed.
	IgnorePower bool `json:"ignorePower,omitempty"`
	// Litter: the agent ends without tidying up.
	Litter bool `json:"litter,omitempty"`
	// Speaks are the protocols that the agent speaks, as one of an older or newer build does; zero for those of this build.
	Speaks control.Versions `json:"speaks,omitzero"`
	// Strays is the number of further processes, each in a session of its own, without its parent, and deaf to signals.
	Strays int `json:"strays,omitempty"`
}

// Step is a moment in the life of a child.
type Step string

// The steps, in the order of each child.
const (
	CreateBegins   Step = "create begins"
	CreateHalfDone Step = "create half done" // the template is there, the disk is not
	CreateEnds     Step = "create ends"
	ApplyBegins    Step = "apply begins"
	ApplyEnds      Step = "apply ends"
	DeleteBegins   Step = "delete begins"
	DeleteHalfDone Step = "delete half done" // the directory is buried
	DeleteEnds     Step = "delete ends"
	AgentBegins    Step = "agent begins"
	AgentListens   Step = "agent listens"   // the control socket answers
	AgentContained Step = "agent contained" // the ledger is begun
	DriverStarted  Step = "driver started"
	AgentRunning   Step = "agent running"
	AgentStopping  Step = "agent stopping" // a stop was asked for, the guest does not know yet
	DriverEnded    Step = "driver ended"
	DriverBegins   Step = "driver begins"
)

// Action is what happens at a step.
type Action string

// The actions.
const (
	Die    Action = "die"    // as by SIGKILL
	Hang   Action = "hang"   // as on a disk that does not answer
	Freeze Action = "freeze" // as by SIGSTOP
	Fail   Action = "fail"   // with an error
)

func (f Faults) speaks() control.Versions {
	if f.Speaks == (control.Versions{}) {
		return control.Spoken()
	}
	return f.Speaks
}

// SetFaults has the children of an instance misbehave that begin after it.
func SetFaults(home, name string, faults Faults) error {
	text, err := json.Marshal(faults)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(faultsFile(home, name)), 0o700)
	}
	if err == nil {
		err = os.WriteFile(faultsFile(home, name), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot set the faults of %q: %w", name, err)
	}
	return nil
}

func faultsFile(home, name string) string { return filepath.Join(home, "_standin", name+".json") }

func readFaults(home, name string) (Faults, error) {
	var faults Faults
	text, err := os.ReadFile(faultsFile(home, name))
	if errors.Is(err, fs.ErrNotExist) {
		return faults, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &faults)
	}
	return faults, err
}

// step fails when ctx is done, and misbehaves as it was told.
func (s *standin) step(ctx context.Context, at Step) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	switch s.faults.At[at] {
	case Die:
		return process.KillSelf()
	case Hang:
		<-make(chan struct{})
	case Freeze:
		return exec.Command("/bin/sh", "-c", "kill -STOP $PPID").Run()
	case Fail:
		return fmt.Errorf("cannot pass %q: %w", at, os.ErrPermission)
	}
	return nil
}
