package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/gofrs/flock"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/private"
)

// ErrRunning says that another daemon serves the instance.
var ErrRunning = errors.New("another daemon is running")

// runningError is ErrRunning with what is known of the other daemon.
type runningError struct {
	inst   instance.Instance
	record *Record
}

func (e *runningError) Error() string {
	who := "another process"
	if e.record != nil {
		who = fmt.Sprintf("the daemon with PID %d", e.record.PID)
	}
	return fmt.Sprintf("instance %q is already served by %s; see \"rdd svc status\"", e.inst.Name, who)
}

func (e *runningError) Is(target error) bool { return target == ErrRunning }

// lock makes this process the only daemon of an instance, until unlock is called or the process ends, however it ends.
func lock(inst instance.Instance) (unlock func() error, err error) {
	file := flock.New(inst.LockFile(), flock.SetPermissions(0o600))
	locked, err := file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("cannot lock instance %q: %w", inst.Name, err)
	}
	if !locked {
		record, err := readRecord(inst)
		return nil, errors.Join(&runningError{inst: inst, record: record}, err)
	}
	return file.Unlock, nil
}

// lockLeft is lock for what is done without a daemon; there is false, and nothing locked, where nothing of the instance is left. Its
// VMs may be all that is: the lock's directory is made for them then.
func lockLeft(inst instance.Instance) (unlock func() error, there bool, err error) {
	for _, dir := range []string{inst.Dir, inst.ShortDir} {
		_, err := os.Stat(dir)
		there = there || !errors.Is(err, fs.ErrNotExist)
	}
	if !there {
		return nil, false, nil
	}
	if err := private.MkdirAll(inst.Dir); err != nil {
		return nil, true, fmt.Errorf("cannot lock instance %q: %w", inst.Name, err)
	}
	unlock, err = lock(inst)
	return unlock, true, err
}

// MakeDirs creates the directories of an instance, for the owner only. What is made in them later inherits that on Windows, and
// cannot be reached by others elsewhere. A directory for the logs that the user has is left as it is. What is there already and
// open to others is an error, a *private.TooOpenError: who knows what they have read or planted.
func MakeDirs(inst instance.Instance) error {
	if err := private.Check(inst); err != nil {
		return fmt.Errorf("cannot use instance %q: %w", inst.Name, err)
	}
	logs := func(dir string) error { return os.MkdirAll(dir, 0o700) }
	for _, one := range []struct {
		dir  string
		make func(string) error
	}{{inst.Dir, private.MkdirAll}, {inst.ShortDir, private.MkdirAll}, {inst.RequestsDir(), private.MkdirAll}, {inst.LogDir, logs}} {
		if err := one.make(one.dir); err != nil {
			return fmt.Errorf("cannot make the directories of instance %q: %w", inst.Name, err)
		}
		if err := writable(one.dir); err != nil {
			return fmt.Errorf("cannot write to a directory of instance %q: %w", inst.Name, err)
		}
	}
	return nil
}

// writable finds out by trying: mode bits do not tell of read-only file systems, access lists or quotas.
func writable(dir string) error {
	file, err := os.CreateTemp(dir, ".write-test-*")
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}
