package lima

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/durable"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// recordVersion is raised when an older daemon could not live with what a newer one has written.
const recordVersion = 1

// step is how far an instance is made, or unmade. Each is written before the work that it names begins, so that the next
// daemon knows what to finish or to undo.
type step string

const (
	stepCreating step = "creating"
	stepCreated  step = "created"
	stepDeleting step = "deleting"
)

// record is all that outlives the daemon of one instance, besides what Lima keeps.
type record struct {
	Version         int    `json:"version"`
	Step            step   `json:"step"`
	Owner           string `json:"owner"`
	TemplateVersion string `json:"templateVersion,omitempty"`
	// TemplateSum tells a directory that our own worker made from one that somebody else put there meanwhile.
	TemplateSum string       `json:"templateSum,omitempty"`
	Instance    *vm.Instance `json:"instance,omitempty"`
	// Distribution is the WSL distribution that is this instance's, once it was about to be started.
	Distribution string `json:"distribution,omitempty"`
	// Child is who works on the instance: a worker while Creating or Deleting, the agent while it runs.
	Child process.Identity `json:"child"`
	// Agent is set while Child is an agent.
	Agent *agentRecord `json:"agent,omitempty"`
	// Failure is why the last run failed, and Failures how many did in a row: a pause, or a policy not to start again, holds for
	// the next daemon, too.
	Failure  *vm.Failure `json:"failure,omitempty"`
	Failures int         `json:"failures,omitempty"`
}

// agentRecord is what it takes to talk to the agent.
type agentRecord struct {
	Token     string    `json:"token"`
	StartedAt time.Time `json:"startedAt"`
}

// errUnusableRecord says that a record was read, and tells nothing.
var errUnusableRecord = errors.New("it is damaged, or of another version of rdd; put back a copy of it, or move it and the instance's directory away")

func recordFile(dir instancedir.Dir) string { return filepath.Join(dir.RecordDir(), "record.json") }

func sumOf(template []byte) string {
	sum := sha256.Sum256(template)
	return hex.EncodeToString(sum[:])
}

// readRecord returns nil when there is none.
func readRecord(dir instancedir.Dir) (*record, error) {
	text, err := os.ReadFile(recordFile(dir))
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of %q: %w", dir.Name, err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("cannot understand the record %s: %w: %w", recordFile(dir), err, errUnusableRecord)
	}
	if r.Version < 1 || r.Version > recordVersion {
		return nil, fmt.Errorf("cannot use the record %s, of version %d where this build knows %d: %w", recordFile(dir), r.Version, recordVersion, errUnusableRecord)
	}
	return &r, nil
}

// write makes the record durable before it returns.
func (r record) write(dir instancedir.Dir) error {
	r.Version = recordVersion
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(dir.RecordDir(), 0o700)
	}
	if err == nil {
		err = durable.WriteFile(recordFile(dir), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write the record of %q: %w", dir.Name, err)
	}
	return nil
}

// forget removes the record, and with it all that rdd keeps of the instance. The record goes first: the rest means nothing
// without it. But what is buried goes before: it may take long, and the record proves that it is ours.
func forget(dir instancedir.Dir) error {
	if err := dir.EmptyGrave(); err != nil {
		return err
	}
	if err := os.Remove(recordFile(dir)); err != nil && !isGone(err) {
		return fmt.Errorf("cannot remove the record of %q: %w", dir.Name, err)
	}
	crashpoint.At(crashpoint.ForgetBegun)
	if err := os.RemoveAll(dir.RecordDir()); err != nil {
		return fmt.Errorf("cannot remove what is kept of %q: %w", dir.Name, err)
	}
	return nil
}
