package process

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// Virus scanners, indexers and readers hold files open for moments, in which no other can take their place. The whole of it takes
// less than a second.
const (
	renameTries = 8
	renamePause = 5 * time.Millisecond // doubles
)

func rename(from, to string) error {
	pause := renamePause
	for try := 1; ; try++ {
		err := os.Rename(from, to)
		held := errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION) ||
			errors.Is(err, windows.ERROR_LOCK_VIOLATION)
		if !held || try == renameTries {
			return err
		}
		<-time.After(pause)
		pause *= 2
	}
}

// syncDir has nothing to do: NTFS journals renames.
func syncDir(string) error { return nil }
