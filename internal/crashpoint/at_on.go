//go:build crashpoints

package crashpoint

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-192657fa/rdd/process"
)

// Variable names the directory that remembers which points have been died at: each has a file of its name.
const Variable = "RDD_CRASHPOINTS"

// At ends the process, as SIGKILL does, unless one has died here before.
func At(point Point) {
	dir := os.Getenv(Variable) //nolint:forbidigo // of the test build only
	if dir == "" {
		return
	}
	file, err := os.OpenFile(filepath.Join(dir, string(point)), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return // it has been died at, or the test is over
	}
	_ = file.Close()
	if err := process.KillSelf(); err != nil {
		panic(fmt.Sprintf("cannot die when %s: %v", point, err))
	}
	select {} // the signal is on its way
}
