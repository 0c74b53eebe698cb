package durable

import (
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

// Others (virus scanners, indexers, a reader that opened without sharing) hold files open for moments. While they do,
// neither the file nor its directory can be renamed. The whole of it takes less than a second.
const (
	renameTries = 8
	firstPause  = 5 * time.Millisecond // doubles
)

func rename(from, to string) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := os.Rename(from, to)
		if err == nil || try == renameTries || !isHeldOpen(err) {
			return err
		}
		<-time.After(pause)
		pause *= 2
	}
}

func isHeldOpen(err error) bool {
	return errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION) ||
		errors.Is(err, windows.ERROR_LOCK_VIOLATION)
}

// syncDir has nothing to do: Windows has no handle of a directory that could be flushed, and NTFS journals the rename.
func syncDir(string) error { return nil }

// quote has a path match itself as a pattern. There is no escaping on Windows, but any character may stand for itself.
func quote(path string) string { return strings.ReplaceAll(path, "[", "?") }
