package hostagent

import (
	"os"

	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
)

// guard keeps Lima from signalling strangers. Wherever an instance stops or goes away, Lima signals whoever wears a PID in
// one of the instance's *.drv.pid files, and there is no way around that call. But Lima logs a line right before, so that a
// hook of the logger runs at the right moment: it removes all of these files. Lima reads them for nothing else, it finds the
// server of an external driver by its socket; and this process ends the servers that it has started by itself, with all its other
// descendants.
type guard struct{ dir instancedir.Dir }

// Levels implements logrus.Hook. The text of the line does not matter, so any line will do.
func (*guard) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (g *guard) Fire(*logrus.Entry) error {
	files, _ := instancedir.FilesIn(g.dir.Path(), ".drv.pid")
	for _, file := range files {
		_ = os.Remove(file) // if that fails, neither can Lima be kept from reading it
	}
	return nil
}
