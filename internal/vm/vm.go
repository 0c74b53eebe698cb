// Package vm owns the contract between the reconciler and whatever runs virtual machines: what can be asked of a VM, and
// what can be observed of it. It knows neither Kubernetes nor Lima.
package vm

import (
	"context"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// Driver runs the VMs of one rdd instance.
//
// Observe and the requests return within milliseconds, also while a VM hangs: a request starts work (or joins the same work
// that is already under way), and its outcome shows in later observations, announced through the notify function that the
// driver was constructed with. A request that cannot apply in the present state returns an error and changes nothing. One
// that joins work under way and changes nothing is not announced, so that it may be repeated at every announcement.
type Driver interface {
	// Observe tells what is known of the VM called name. A name that was never seen is Absent.
	Observe(name string) Observed

	// Create makes the instance on disk and prepares it to be started (downloads, disks): Absent → Creating → Stopped,
	// or back to Absent with a Failure. Leftovers of an interrupted Create of ours are removed first. What is Foreign is moved
	// aside first, which a Notice tells, or, where somebody lives in it, stays Foreign with a Failure, which goes away, and is
	// announced, as soon as nobody does.
	Create(name string, spec Spec) error
	// Apply gives a Stopped instance another template; with the version that it has, nothing happens. Like Start, it finds out
	// whether somebody has taken the instance's directory away, or put another one in its place: then the instance is Absent or
	// Foreign, with a Failure of OpCreate.
	Apply(name string, spec Spec) error
	// Start boots a Stopped instance: Stopped → Starting → Running, or back to Stopped with a Failure.
	Start(name string) error
	// Stop shuts a Starting or Running instance down: Stopping → Stopped. After grace it is ended by force; a grace of zero,
	// or one shorter than what is left of a Stop under way, takes effect at once.
	Stop(name string, grace time.Duration) error
	// Delete removes a Stopped or half-made instance from disk: Deleting → Absent. One that is Creating is half-made: its
	// Create is called off first.
	Delete(name string) error

	// SetGrace notes how long the guest of an instance, from Stopped to Stopping, has for shutting down: for who ends it when nobody
	// can be asked. It is not announced.
	SetGrace(name string, grace time.Duration) error

	// Drain refuses every later Create and Start, stops all VMs in parallel, each within the grace that grace returns for
	// it, ends what they have shared, and returns when none is left or ctx is done.
	Drain(ctx context.Context, grace func(name string) time.Duration) error
	// Close lets go of all VMs without touching them: they go on running, for the next daemon to adopt.
	Close() error
}

// Spec is what an instance is made from.
type Spec struct {
	// Owner is the UID of the object that the instance belongs to. An instance has one owner for life.
	Owner string
	// Template is a complete Lima template (YAML, no base left to resolve), params merged in.
	Template []byte
	// TemplateVersion is opaque to the driver and comes back in Observed.
	TemplateVersion string
}

// State is where an instance stands. Exactly one applies at any time.
type State string

// The states of an instance.
const (
	// Unknown: the driver has just started and is still verifying what an earlier daemon left. With a Failure, it cannot, and
	// tries again and again.
	Unknown  State = "Unknown"
	Absent   State = "Absent"
	Creating State = "Creating"
	Stopped  State = "Stopped"
	Starting State = "Starting"
	Running  State = "Running"
	Stopping State = "Stopping"
	Deleting State = "Deleting"
	// Foreign: a directory of that name exists, and nothing proves that it was made by this rdd instance.
	Foreign State = "Foreign"
)

// StateError refuses a request that does not fit the state that the instance is in, which may have changed since it was observed.
type StateError State

func (e StateError) Error() string { return "it is " + string(e) }

// Operation names what was under way when something failed.
type Operation string

// The operations that can fail.
const (
	OpCreate Operation = "Create"
	OpApply  Operation = "Apply"
	OpStart  Operation = "Start"
	OpStop   Operation = "Stop"
	OpDelete Operation = "Delete"
	// OpRun: it ran, and died without having been asked to.
	OpRun Operation = "Run"
)

// Observed is what is known of one instance at one moment.
type Observed struct {
	State State
	// Owner and TemplateVersion are those of the Spec that was last fully applied; empty when Absent. Owner is known from
	// Creating on, before anything is applied.
	Owner           string
	TemplateVersion string
	// Draining: the driver is shutting down and starts nothing any more.
	Draining bool
	// Failure tells why the last operation failed; nil after a success.
	Failure *Failure
	// Progress is set while something long is under way.
	Progress *Progress
	// Host is set while an agent lives.
	Host *Host
	// Grace is what SetGrace has noted, of this driver or an earlier one; 0 when nothing.
	Grace time.Duration
	// Instance is set from Stopped on.
	Instance *Instance
	// Degraded lists what the user asked for and does not work, though the VM runs.
	Degraded []string
	// Notices are things that happened once and are worth an Event; each is reported by one Observe only.
	Notices []Notice
}

// Failure tells why an operation failed.
type Failure struct {
	During  Operation
	Message string // one line, with the cause
	// TemplateVersion is that of the Spec which Create or Apply was given; empty for other operations.
	TemplateVersion string
	// ExitStatus of the agent or worker ("exit status 1", "signal: killed"); empty when none ended.
	ExitStatus string
	LogTail    []string // last lines of the agent's or worker's log, oldest first
	At         time.Time
	// Count is the number of failures in a row without a success, or a healthy run of 10 minutes, in between: at least 1.
	Count int
}

// Progress tells how far a long operation is.
type Progress struct {
	Stage   string // for people: "Downloading the image", "Waiting for ssh"
	Percent int    // 0–100; -1 when it cannot be told
	Message string
}

// Host tells which processes carry a running instance.
type Host struct {
	Agent  process.Identity
	Driver process.Identity // zero until known
	// StartedAt is when the agent started.
	StartedAt time.Time
	// Adopted: the agent was started by an earlier daemon.
	Adopted bool
}

// Instance tells what an instance is made of.
type Instance struct {
	Directory string
	VMType    string // "qemu", "vz", "wsl2"
	Arch      string // Lima's word: "x86_64", "aarch64"
	CPUs      int
	Memory    int64 // bytes
	Disk      int64 // bytes
	SSHPort   int   // 0 unless running
}

// Notice is something that happened once.
type Notice struct {
	Warning bool
	Reason  string // the reason of the Event: "ForeignProcess", "ForcedStop", "LeftoverRemoved", …
	Message string
}
