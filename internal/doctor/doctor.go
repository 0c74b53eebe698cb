// Package doctor owns the examination of a host and of one rdd instance: what keeps VMs from running, or makes them slow, and
// the command that mends it. It mends by itself only what is safe: modes of our own directories and files, and what is left
// of VMs of which verifiably nothing runs. It never signals a process.
package doctor

import (
	"context"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// Status is how serious a finding is.
type Status string

// What a check can find.
const (
	OK      Status = "ok"
	Warning Status = "warning" // VMs run, but slowly, or something deserves a look
	Broken  Status = "broken"  // VMs do not run, or others can get in
	Fixed   Status = "fixed"   // was broken or deserved a look, and has been mended
)

// Finding is what a check tells.
type Finding struct {
	Check   string `json:"check"`
	Status  Status `json:"status"`
	Message string `json:"message"`
	// Remedy is what to do, if possible a command.
	Remedy string `json:"remedy,omitempty"`

	// fix mends it; nil where that is not safe.
	fix func() error
}

// Config says what to examine.
type Config struct {
	Instance instance.Instance
	// Env is the environment of the daemon's children, in whose PATH programs are searched.
	Env []string
	// Address is where the API of the living daemon listens; empty when no daemon serves.
	Address string
	// Running: a daemon lives, whether it serves yet or not. Then nothing of VMs is mended: the daemon does so itself.
	Running bool
	// SecurePort is the port that the user asked for; 0 means any.
	SecurePort int
	// Settings is what is wrong with those that are saved; nil means nothing.
	Settings error
	// CheckStore tells what is wrong with the datastore, which nobody has open.
	CheckStore func(context.Context) error
	// Fix what is safe.
	Fix bool
}

// check is one row of the table. What it returns needs no name.
type check struct {
	name string
	run  func(context.Context, Config) []Finding
}

func checks() []check {
	return append([]check{
		{"ssh", checkSSH},
		{"disk space", checkDiskSpace},
		{"permissions", checkPermissions},
		{"settings", checkSettings},
		{"datastore", checkStore},
		{"socket paths", checkSocketPaths},
		{"port", checkPort},
		{"stale files", checkStaleFiles},
		{"foreign processes", checkForeign},
	}, platformChecks()...)
}

// Examine runs all checks, one after another; the order is always the same.
func Examine(ctx context.Context, cfg Config) []Finding {
	var all []Finding
	for _, check := range checks() {
		for _, finding := range check.run(ctx, cfg) {
			finding.Check = check.name
			if cfg.Fix && finding.fix != nil {
				finding = finding.mend()
			}
			all = append(all, finding)
		}
	}
	return all
}

func (f Finding) mend() Finding {
	if err := f.fix(); err != nil {
		f.Status, f.Message = Broken, f.Message+"; cannot mend it: "+err.Error()
		return f
	}
	f.Status, f.Remedy, f.fix = Fixed, "", nil
	return f
}

// Sound tells whether nothing is broken.
func Sound(findings []Finding) bool {
	for _, finding := range findings {
		if finding.Status == Broken {
			return false
		}
	}
	return true
}

func ok(message string) []Finding { return []Finding{{Status: OK, Message: message}} }

// byFix is the remedy of what this package mends itself.
const byFix = "rdd doctor --fix"
