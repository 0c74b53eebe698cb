package hostagent

import (
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/process"
)

// guard keeps Lima from signalling strangers. Wherever an instance stops or goes away, Lima signals whoever wears a PID in
// one of the instance's *.drv.pid files, and there is no way around that call. But Lima logs a line right before, so that a
// hook of the logger runs at the right moment: it removes the files that name none of this process's own descendants.
type guard struct{ dir instancedir.Dir }

// Levels implements logrus.Hook. The text of the line does not matter, so any line will do.
func (*guard) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (g *guard) Fire(*logrus.Entry) error {
	files, _ := filepath.Glob(filepath.Join(g.dir.Path(), "*.drv.pid")) // the pattern is well-formed
	if len(files) == 0 {
		return nil
	}
	own := map[int]bool{}
	if self, err := process.Self(); err == nil {
		if descendants, err := process.Descendants(self); err == nil {
			for _, id := range descendants {
				own[id.PID] = true
			}
		}
	}
	for _, file := range files {
		if pid, ok := instancedir.ReadPID(file); !ok || !own[pid] {
			_ = os.Remove(file) // if that fails, neither can Lima be kept from reading it
		}
	}
	return nil
}
