package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/private"
	"github.com/seed-192657fa/rdd/process"
)

func checkPermissions(_ context.Context, cfg Config) []Finding {
	var found []Finding
	// The directory of the logs may be one that the user has for more than that.
	for _, path := range append(private.Paths(cfg.Instance), cfg.Instance.StdoutLog(), cfg.Instance.StderrLog()) {
		problem, err := private.Problem(path)
		if err != nil {
			found = append(found, Finding{Status: Broken, Message: err.Error(), Remedy: "make it readable for you"})
		}
		if problem != "" {
			found = append(found, Finding{
				Status: Broken, Message: path + " " + problem, Remedy: byFix, fix: func() error { return private.Mend(path) },
			})
		}
	}
	if found != nil {
		return found
	}
	return ok("only you can get at the files of this instance")
}

func checkSettings(_ context.Context, cfg Config) []Finding {
	if cfg.Settings != nil {
		return []Finding{{Status: Broken, Message: cfg.Settings.Error()}} // with what to do
	}
	return ok("they can be read")
}

func checkStore(ctx context.Context, cfg Config) []Finding {
	if cfg.Running {
		return ok("the control plane runs, and has checked it")
	}
	if err := cfg.CheckStore(ctx); err != nil {
		return []Finding{{
			Status: Broken, Message: err.Error(),
			Remedy: "put back a copy that you have; or \"rdd svc reset\", which removes the VMs, too",
		}}
	}
	return ok("it is sound, or there is none yet")
}

// vms are the places of the VMs that rdd has made.
func vms(inst instance.Instance) []instancedir.Dir {
	entries, err := os.ReadDir(instancedir.Records(inst.LimaHome()))
	if err != nil {
		return nil
	}
	var dirs []instancedir.Dir
	for _, entry := range entries {
		if entry.IsDir() {
			dirs = append(dirs, instancedir.Dir{Home: inst.LimaHome(), Name: entry.Name()})
		}
	}
	return dirs
}

// errLives says that something of a VM runs, or may run.
var errLives = errors.New("it may be running")

// dead returns nil only if it is proven that nothing of a VM lives: neither the child that its record names nor one of the
// family in its ledger. A record or a ledger that cannot be read proves nothing.
func dead(dir instancedir.Dir) error {
	text, err := os.ReadFile(filepath.Join(dir.RecordDir(), "record.json"))
	if err != nil {
		return err
	}
	var record struct {
		Child process.Identity `json:"child"`
	}
	if err := json.Unmarshal(text, &record); err != nil {
		return err
	}
	if !record.Child.IsZero() {
		handle, err := process.Open(record.Child)
		if err == nil {
			return errors.Join(errLives, handle.Close())
		}
		if !errors.Is(err, process.ErrGone) {
			return err
		}
	}
	family, err := process.ReadFamily(dir.Ledger())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	members, err := family.Members()
	if err == nil && len(members) > 0 {
		err = errLives
	}
	return err
}

// Alive lists the VMs of an instance of which something verifiably runs, whether a daemon lives or not.
func Alive(inst instance.Instance) []string {
	var names []string
	for _, dir := range vms(inst) {
		if errors.Is(dead(dir), errLives) {
			names = append(names, strings.TrimSuffix(dir.Name, inst.LimaSuffix()))
		}
	}
	return names
}

func leftovers(dir instancedir.Dir) []string {
	var found []string
	for _, suffix := range []string{".pid", ".sock", ".tmp"} {
		files, _ := instancedir.FilesIn(dir.Path(), suffix) // where it cannot be read, nothing can be cleared
		found = append(found, files...)
	}
	if _, err := os.Lstat(dir.ControlSocket()); err == nil {
		found = append(found, dir.ControlSocket())
	}
	return found
}

func checkStaleFiles(_ context.Context, cfg Config) []Finding {
	if cfg.Running {
		return ok("the control plane runs, and clears them itself")
	}
	var found []Finding
	for _, dir := range vms(cfg.Instance) {
		files := leftovers(dir)
		if len(files) == 0 || dead(dir) != nil {
			continue
		}
		found = append(found, Finding{
			Status: Warning, Message: fmt.Sprintf("VM %q does not run and has left %d files: %s, …", dir.Name, len(files), files[0]),
			Remedy: byFix, fix: func() error { return clearVM(cfg.Instance, dir) },
		})
	}
	if found != nil {
		return found
	}
	return ok("there are none")
}

// clearVM removes what a run of a VM has left. The lock keeps a daemon from starting that VM meanwhile; with it held, what was
// proven before is proven again.
func clearVM(inst instance.Instance, dir instancedir.Dir) error {
	lock := flock.New(inst.LockFile(), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err == nil && !locked {
		err = errors.New("the control plane runs")
	}
	if err != nil {
		return err
	}
	err = dead(dir)
	if err == nil {
		_, err = dir.Clear(process.Identity{})
		err = errors.Join(err, dir.RemoveControlSocket())
	}
	return errors.Join(err, lock.Unlock())
}

// checkForeign tells of PID files of VMs of which nothing runs, and whose PID somebody else wears by now.
func checkForeign(_ context.Context, cfg Config) []Finding {
	var found []Finding
	for _, dir := range vms(cfg.Instance) {
		if dead(dir) != nil {
			continue
		}
		files, _ := instancedir.FilesIn(dir.Path(), ".pid") // as in leftovers
		for _, file := range files {
			pid, ok := instancedir.ReadPID(file)
			if !ok {
				continue
			}
			if who, err := process.Describe(pid); err == nil {
				found = append(found, Finding{
					Status: Warning, Message: fmt.Sprintf("PID %d in %s is not ours: %s, started %s; it is not touched",
						pid, file, who.Name, who.Started.Format(time.RFC3339)),
					Remedy: "nothing: rdd never signals it, and the file goes at the next start of the VM",
				})
			}
		}
	}
	if found != nil {
		return found
	}
	return ok("no PID file names a process of somebody else")
}
