package cli

import (
	"fmt"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
)

// plainWarnings prints what Lima's library warns of, say about a template, as lines for people. Processes that log set it up anew.
func (a *app) plainWarnings() {
	logrus.SetFormatter(&warnings{})
	if a.quiet {
		logrus.SetLevel(logrus.ErrorLevel)
	}
}

// warnings makes one line of each entry, and nothing of one that was there before: a template is read several times.
type warnings struct{ said sync.Map }

// Format implements logrus.Formatter.
func (w *warnings) Format(entry *logrus.Entry) ([]byte, error) {
	level := entry.Level.String()
	line := fmt.Sprintf("%s%s: %s", strings.ToUpper(level[:1]), level[1:], firstLine(entry.Message))
	if err, ok := entry.Data[logrus.ErrorKey].(error); ok {
		line += ": " + firstLine(err.Error())
	}
	if _, before := w.said.LoadOrStore(line, true); before {
		return nil, nil
	}
	return []byte(line + "\n"), nil
}
