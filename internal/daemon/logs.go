package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-192657fa/rdd/internal/instance"
)

const (
	// oldLogs is how many logs of the past are kept of each kind.
	oldLogs = 5
	// logBytes is how long a log becomes, about, before the next one is begun.
	logBytes = 16 << 20
	// logTime is in the name of a log of the past: these sort by age. It has the shape that logShape matches.
	logTime  = "20060102T150405.000"
	logShape = "[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9].[0-9][0-9][0-9]"
)

// Logs are the log files of a daemon in the background. It is started with both open for appending, so that they also get what
// comes before and beside all logging, such as a panic; that is why a log of the past is a copy, after which the file is emptied.
type Logs struct {
	inst instance.Instance
	keep int // how many of the past; negative for all
	max  int64

	mu     sync.Mutex
	stderr io.Writer
	size   int64
}

// NewLogs returns the logs of a daemon whose standard error is stderr. With keepAll nothing of the past is removed.
func NewLogs(inst instance.Instance, stderr io.Writer, keepAll bool) *Logs {
	l := &Logs{inst: inst, keep: oldLogs, max: logBytes, stderr: stderr}
	if keepAll {
		l.keep = -1
	}
	return l
}

// Write logs. What is written at once stays together.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > l.max {
		// A full disk is no reason to log nothing: the file grows on, and the next chance comes as much later.
		_ = l.archive(l.inst.StderrLog())
		l.size = 0
	}
	n, err := l.stderr.Write(p)
	l.size += int64(n)
	return n, err
}

// begin puts away what earlier daemons have logged. It is called with the instance's lock held: the logs may be those of a
// living daemon before. A nil Logs is that of a daemon in the foreground, which has none.
func (l *Logs) begin() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size = 0
	return errors.Join(l.archive(l.inst.StdoutLog()), l.archive(l.inst.StderrLog()))
}

// archive copies a log, empties it, and removes those of the past that are too many.
func (l *Logs) archive(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err == nil {
		err = copyLog(path, pastLog(path, time.Now()))
	}
	if err == nil {
		err = os.Truncate(path, 0)
	}
	if err == nil && l.keep >= 0 {
		err = removeOldest(path, l.keep)
	}
	if err != nil {
		return fmt.Errorf("cannot put a log away: %w", err)
	}
	return nil
}

func copyLog(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, target.Close()); err != nil {
			_ = os.Remove(to)
		}
	}()
	_, err = io.Copy(target, source)
	return err
}

// pastLog is what rdd.stderr.log is called once it is a log of the past: rdd.stderr.20261125T150405.000.log.
func pastLog(path string, at time.Time) string {
	return strings.TrimSuffix(path, filepath.Ext(path)) + "." + at.UTC().Format(logTime) + filepath.Ext(path)
}

// pastLogs lists those of the past of one kind, the oldest first. The directory may hold files of others.
func pastLogs(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	base := filepath.Base(path)
	pattern := strings.TrimSuffix(base, filepath.Ext(base)) + "." + logShape + filepath.Ext(base)
	var found []string
	for _, entry := range entries {
		if match, err := filepath.Match(pattern, entry.Name()); err == nil && match {
			found = append(found, filepath.Join(filepath.Dir(path), entry.Name()))
		}
	}
	slices.Sort(found)
	return found, nil
}

// PreviousLog is the newest log of the past of one kind; the error is fs.ErrNotExist where there is none.
func PreviousLog(path string) (string, error) {
	past, err := pastLogs(path)
	if err == nil && len(past) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return "", fmt.Errorf("cannot find a log of the past: %w", err)
	}
	return past[len(past)-1], nil
}

func removeOldest(path string, keep int) error {
	past, err := pastLogs(path)
	if err != nil {
		return err
	}
	for _, old := range past[:max(0, len(past)-keep)] {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// LogFiles lists the logs of an instance that are there, those of the past first.
func LogFiles(inst instance.Instance) ([]string, error) {
	var files []string
	for _, path := range []string{inst.StdoutLog(), inst.StderrLog()} {
		past, err := pastLogs(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot look for the logs: %w", err)
		}
		files = append(files, past...)
		if _, err := os.Stat(path); err == nil {
			files = append(files, path)
		}
	}
	return files, nil
}
