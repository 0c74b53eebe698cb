// Package control owns the protocol between the daemon and the agents of its VMs: the types on the wire, the client, the
// server, and the journal of events that the agent keeps.
//
// It is HTTP over a Unix socket in a directory that only the owner can enter. Who answers proves with an HMAC over a fresh
// nonce that it knows the token of the instance's record, and who asks proves the same for everything but that question.
// On Linux each side also checks with SO_PEERCRED whom it talks to. Nothing here knows Lima.
package control

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// Boot is what the daemon writes to the standard input of each of its children, as one JSON document. A child that reads
// less than a whole document knows that its daemon died before the record of it was safe, and ends.
type Boot struct {
	Speaks   Versions `json:"speaks"`
	Instance string   `json:"instance"`
	// RecordDir is rdd's own directory of the instance: control socket, ledger.
	RecordDir string `json:"recordDir"`
	// GuestAgentDir is where the guest agent binary is unpacked to.
	GuestAgentDir string `json:"guestAgentDir,omitempty"`
	// Token is the secret that agent and daemon share.
	Token string `json:"token,omitempty"`
	// Template is what to create the instance from, or to apply.
	Template []byte `json:"template,omitempty"`
	// Emulate forbids hardware acceleration, because it was seen not to work.
	Emulate bool `json:"emulate,omitempty"`
}

// Identity is the answer to "who are you". Its shape is that of all protocols: whoever asks has to understand, and to check,
// the answer of any build. What else there is to tell belongs elsewhere.
type Identity struct {
	Speaks   Versions         `json:"speaks"`
	Instance string           `json:"instance"`
	Agent    process.Identity `json:"agent"`
	// Proof is the HMAC over the nonce and all of the above.
	Proof string `json:"proof"`
}

// Stop asks the agent to shut its VM down and to end.
type Stop struct {
	GraceSeconds float64 `json:"graceSeconds"`
}

// Grace is the time that the VM is given before force is used.
func (s Stop) Grace() time.Duration { return time.Duration(s.GraceSeconds * float64(time.Second)) }

// Phase is how far an agent has come.
type Phase string

// The phases of an agent, in their order.
const (
	Preparing Phase = "preparing" // downloads, disks, networks
	Booting   Phase = "booting"   // the VM's process lives
	Running   Phase = "running"   // ssh answers, and whatever else was asked for was tried
	Stopping  Phase = "stopping"
)

// State is a summary of the journal up to Offset.
type State struct {
	Phase     Phase            `json:"phase"`
	StartedAt time.Time        `json:"startedAt"`
	Driver    process.Identity `json:"driver"`
	// RunningSince is when it came to Running; since protocol 2.
	RunningSince time.Time `json:"runningSince,omitzero"`
	SSHPort      int       `json:"sshPort,omitempty"`
	Errors       []string  `json:"errors,omitempty"`
	Offset       int64     `json:"offset"`
}

// Event is one line of the journal. The journal is Lima's event log (ha.stdout.log), so that Lima's own tools can read it;
// what rdd adds is in a field of its own, which they ignore.
type Event struct {
	Time   time.Time `json:"time,omitzero"`
	Status Status    `json:"status"`
	RDD    *Note     `json:"rdd,omitempty"`
}

// Status is the part of Lima's event that rdd reads. Lima repeats it in later events.
type Status struct {
	Running      bool     `json:"running,omitempty"`
	Degraded     bool     `json:"degraded,omitempty"`
	Exiting      bool     `json:"exiting,omitempty"`
	Errors       []string `json:"errors,omitempty"`
	SSHLocalPort int      `json:"sshLocalPort,omitempty"`
}

// Note is what rdd's children tell: in the journal (agents), or as a line on their progress pipe (workers). Each field is
// set in the note that it is news in, and in no other.
type Note struct {
	// Ready: the control socket listens.
	Ready    bool              `json:"ready,omitempty"`
	Progress *vm.Progress      `json:"progress,omitempty"`
	Notice   *vm.Notice        `json:"notice,omitempty"`
	Instance *vm.Instance      `json:"instance,omitempty"`
	Driver   *process.Identity `json:"driver,omitempty"`
	// Made: the instance's directory is there, and it was this worker that made it.
	Made bool `json:"made,omitempty"`
	// Stopping: the agent was asked to stop.
	Stopping bool `json:"stopping,omitempty"`
	// Forced: the VM did not shut down within its grace.
	Forced bool `json:"forced,omitempty"`
	// Failure is why the child is about to end unsuccessfully.
	Failure string `json:"failure,omitempty"`
	// Done: the child did what it was started for, and ends.
	Done bool `json:"done,omitempty"`
}

// Entry is an event with its place in the journal, as the event stream sends it.
type Entry struct {
	// Next is the offset behind this event: where to go on reading.
	Next  int64           `json:"next"`
	Event json.RawMessage `json:"event"`
}

// NewToken makes the secret of one run of an agent.
func NewToken() string {
	token := make([]byte, 32)
	_, _ = rand.Read(token) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(token)
}

// serverProof is what an agent answers a nonce with.
func serverProof(token, nonce string, who Identity) (string, error) {
	who.Proof = ""
	text, err := json.Marshal(who)
	if err != nil {
		return "", fmt.Errorf("cannot encode an agent's identity: %w", err)
	}
	return seal(token, "agent", nonce, string(text)), nil
}

// clientProof goes with every request but the question for the identity.
func clientProof(token string, agent process.Identity) string {
	return seal(token, "daemon", agent.String())
}

// seal is an HMAC over parts, each with its length in front so that no two lists of parts look alike.
func seal(token string, parts ...string) string {
	mac := hmac.New(sha256.New, []byte(token))
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

func sameProof(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }
