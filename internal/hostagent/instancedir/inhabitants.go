package instancedir

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// Inhabitant is somebody who lives in a directory: it must not be moved under them.
type Inhabitant struct {
	// Process is who, as far as that is known.
	Process process.Identity
	// What tells people: "PID 4711 (qemu-system-x86) has disk open".
	What string
}

const (
	// answerTimeout is how long a socket may take to accept. Nobody has to think for that.
	answerTimeout = time.Second
	// writtenAfter is how much later than its start a process may be said to have started: clocks are set, and boot times are
	// rounded.
	writtenAfter = 2 * time.Second
)

// Inhabitants looks for who lives in the directory: processes that have their place or their files there, those that its PID
// files name, and whoever listens on its sockets. Which processes have what open is told on Linux only.
func (d Dir) Inhabitants() ([]Inhabitant, error) {
	root, err := filepath.EvalSymlinks(d.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a link to nowhere, too
	}
	var found []Inhabitant
	if err == nil {
		found, err = users(root)
	}
	if info, statErr := os.Stat(root); err == nil && statErr == nil && info.IsDir() {
		var told []Inhabitant
		told, err = inhabitants(root, 2)
		found = append(found, told...)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell who uses %s: %w", d.Path(), err)
	}
	return found, nil
}

// inhabitants asks PID files and sockets in dir, and so many levels down. Lima's drivers have them in the first and the second.
func inhabitants(dir string, levels int) ([]Inhabitant, error) {
	entries, err := os.ReadDir(dir)
	if err != nil || levels == 0 {
		return nil, ignoreMissing(err)
	}
	var found []Inhabitant
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch {
		case entry.IsDir():
			below, err := inhabitants(path, levels-1)
			if err != nil {
				return nil, err
			}
			found = append(found, below...)
		case filepath.Ext(path) == ".pid":
			if who, lives := named(path); lives {
				found = append(found, who)
			}
		case entry.Type() == fs.ModeSocket, filepath.Ext(path) == ".sock":
			if conn, err := net.DialTimeout("unix", path, answerTimeout); err == nil {
				_ = conn.Close()
				found = append(found, Inhabitant{What: "somebody listens on " + entry.Name()})
			}
		}
	}
	return found, nil
}

// ignoreMissing is for what may vanish while it is looked at.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// named tells who wears the PID in a PID file. One that has started after the file was written is not who was meant.
func named(file string) (Inhabitant, bool) {
	pid, ok := ReadPID(file)
	if !ok || pid == os.Getpid() {
		return Inhabitant{}, false
	}
	written, err := os.Stat(file)
	if err != nil {
		return Inhabitant{}, false
	}
	info, err := process.Describe(pid)
	if errors.Is(err, process.ErrGone) || (err == nil && info.Started.After(written.ModTime().Add(writtenAfter))) {
		return Inhabitant{}, false
	}
	what := fmt.Sprintf("PID %d is named by %s", pid, filepath.Base(file))
	if err == nil {
		what = fmt.Sprintf("PID %d (%s) is named by %s", pid, info.Name, filepath.Base(file))
	}
	return Inhabitant{Process: info.Identity, What: what}, true
}
