// Package instancedir owns what lies on disk for one instance: where Lima's files and rdd's own are, which of Lima's are
// left over when nothing of the instance runs, and whose the processes are that they name. Nothing here runs Lima.
//
// A PID in a file of Lima's is a hint and never an order: the file of a process that rdd cannot prove to be its own is
// stale, whoever wears that PID now.
package instancedir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/internal/durable"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// recordsDir sits beside the instances. Lima reserves names that begin with an underscore, so no instance has that name.
const recordsDir = "_rdd"

// Dir is the place of one instance.
type Dir struct {
	// Home is LIMA_HOME.
	Home string
	// Name is the instance's.
	Name string
}

// Records is the directory that holds rdd's own of all instances under a LIMA_HOME.
func Records(home string) string { return filepath.Join(home, recordsDir) }

// At is the place of the instance whose directory is path.
func At(path string) Dir { return Dir{Home: filepath.Dir(path), Name: filepath.Base(path)} }

// Path is Lima's directory of the instance.
func (d Dir) Path() string { return filepath.Join(d.Home, d.Name) }

// RecordDir is rdd's own directory of the instance.
func (d Dir) RecordDir() string { return filepath.Join(Records(d.Home), d.Name) }

// ControlSocket is where the agent listens for the daemon.
func (d Dir) ControlSocket() string { return filepath.Join(d.RecordDir(), "control.sock") }

// RemoveControlSocket removes what an agent listened on.
func (d Dir) RemoveControlSocket() error { return remove(d.ControlSocket()) }

// Ledger is where each child of the daemon records its family, for whoever has to end it later.
func (d Dir) Ledger() string { return filepath.Join(d.RecordDir(), "ledger.json") }

// EndFamily ends what is left of the last child's family, the child itself included, and waits for it. A notice tells that the
// ledger was damaged: the caller has ended the child that it knows of.
func (d Dir) EndFamily(ctx context.Context) (*vm.Notice, error) {
	family, err := process.ReadFamily(d.Ledger())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, process.ErrDamaged):
		return d.endRemains(ctx, family, err)
	case err != nil:
		return nil, err
	}
	return nil, family.Kill(ctx)
}

// endRemains ends what a damaged ledger, or one of another build, still tells of, and sets it aside: otherwise the instance could
// neither be started nor deleted any more.
func (d Dir) endRemains(ctx context.Context, family *process.Family, damage error) (*vm.Notice, error) {
	if family != nil {
		if now, err := process.Find(family.Head.PID); err == nil && now == family.Head {
			return nil, fmt.Errorf("process %v lives: %w", family.Head, damage)
		}
		if err := family.Kill(ctx); err != nil {
			return nil, err
		}
	}
	aside := d.Ledger() + ".damaged"
	if err := durable.Rename(d.Ledger(), aside); err != nil {
		return nil, fmt.Errorf("cannot set a damaged ledger aside: %w", err)
	}
	return &vm.Notice{Warning: true, Reason: "LedgerDamaged", Message: fmt.Sprintf(
		"%v; it was moved to %s: processes of an earlier run may be left, see whether one has a file in %s open", damage, aside, d.Path())}, nil
}

// WorkerLog is the output of the short-lived children.
func (d Dir) WorkerLog() string { return filepath.Join(d.RecordDir(), "worker.log") }

// Template is the template that the instance was made from.
func (d Dir) Template() string { return filepath.Join(d.Path(), "lima.yaml") }

// Journal is the event log of the agent; Lima's tools read it too.
func (d Dir) Journal() string { return filepath.Join(d.Path(), "ha.stdout.log") }

// AgentLog is the output of the agent.
func (d Dir) AgentLog() string { return filepath.Join(d.Path(), "ha.stderr.log") }

// AgentPID is where Lima's tools look for the agent's PID.
func (d Dir) AgentPID() string { return filepath.Join(d.Path(), "ha.pid") }

// DriverPIDs are the PIDs that Lima's drivers have written down. They are hints.
func (d Dir) DriverPIDs() []int {
	files, err := FilesIn(d.Path(), ".pid")
	if err != nil {
		return nil
	}
	var pids []int
	for _, file := range files {
		if pid, ok := ReadPID(file); ok && file != d.AgentPID() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// FilesIn returns the paths of what is in dir, if that exists, and has a name that ends in suffix. A pattern would not do: the home
// may have brackets in its name.
func FilesIn(dir, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var paths []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), suffix) {
			paths = append(paths, filepath.Join(dir, entry.Name()))
		}
	}
	return paths, nil
}

// ReadPID reads a PID file; what it names is a hint.
func ReadPID(file string) (int, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	return parsePID(text)
}

func parsePID(text []byte) (int, bool) {
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, false
	}
	return pid, true
}

// AgentSocket is where Lima's tools ask the agent.
func (d Dir) AgentSocket() string { return filepath.Join(d.Path(), "ha.sock") }

// Exists tells whether anything is at Path.
func (d Dir) Exists() (bool, error) {
	_, err := os.Lstat(d.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Clear removes what a run of the instance leaves behind: PID files, sockets, temporary files, the locks of its disks. It
// must only be called while nothing of the instance lives but the agent own (zero for none), so that a PID file which names
// another living process names a stranger: a notice tells whom, and the stranger is left alone.
func (d Dir) Clear(own process.Identity) ([]vm.Notice, error) {
	entries, err := os.ReadDir(d.Path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot look for leftovers: %w", err)
	}
	var notices []vm.Notice
	var errs []error
	for _, entry := range entries {
		path := filepath.Join(d.Path(), entry.Name())
		switch filepath.Ext(entry.Name()) {
		case ".pid":
			if notice := stranger(path, own); notice != nil {
				notices = append(notices, *notice)
			}
		case ".sock", ".tmp":
		default:
			continue
		}
		errs = append(errs, remove(path))
	}
	return notices, errors.Join(append(errs, d.unlockDisks())...)
}

// ClearPIDFile removes the PID file of something that does not live. A notice tells whose PID it is now.
func ClearPIDFile(path string) (*vm.Notice, error) {
	notice := stranger(path, process.Identity{})
	return notice, remove(path)
}

// stranger tells who wears the PID in a stale PID file; nil when nobody does.
func stranger(path string, own process.Identity) *vm.Notice {
	pid, ok := ReadPID(path)
	if !ok {
		return nil
	}
	found, err := process.Describe(pid)
	if err != nil || found.Identity == own {
		return nil
	}
	return &vm.Notice{
		Warning: true, Reason: "ForeignProcess",
		Message: fmt.Sprintf("PID %d in %s is not ours: started %s, %s; left alone",
			pid, filepath.Base(path), found.Started.Format(time.RFC3339), found.Name),
	}
}

// unlockDisks releases the disks that this instance, and no other, has locked.
func (d Dir) unlockDisks() error {
	disks, err := FilesIn(filepath.Join(d.Home, "_disks"), "")
	if err != nil {
		return fmt.Errorf("cannot look for locked disks: %w", err)
	}
	var errs []error
	for _, disk := range disks {
		lock := filepath.Join(disk, "in_use_by")
		if holder, err := os.Readlink(lock); err == nil && d.is(holder) {
			errs = append(errs, remove(lock))
		}
	}
	return errors.Join(errs...)
}

// is compares as Lima writes: it resolves links in LIMA_HOME first.
func (d Dir) is(path string) bool {
	if path == d.Path() {
		return true
	}
	home, err := filepath.EvalSymlinks(d.Home)
	return err == nil && path == filepath.Join(home, d.Name)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove a leftover: %w", err)
	}
	return nil
}
