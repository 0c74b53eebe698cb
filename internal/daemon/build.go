package daemon

import (
	"fmt"
	"os"
)

// buildOf tells one build of rdd from another of the same version, such as two that a developer makes in a row; empty when
// the file cannot be looked at.
func buildOf(executable string) string {
	info, err := os.Stat(executable)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime().UTC().Format("2006-01-02T15:04:05.000000000Z"))
}

// Differs tells what the daemon runs if that is not the program at executable, which has the given version: "version 1.2.3",
// or "another build of version 1.2.3". It is empty if they are the same.
func (r *Record) Differs(version, executable string) string {
	switch {
	case r.Version != version:
		return "version " + r.Version
	case r.Build != "" && r.Build != buildOf(executable):
		return "another build of version " + r.Version
	}
	return ""
}
