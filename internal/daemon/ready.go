package daemon

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
)

// outcome is what a daemon in the background tells whoever launched it, once, over a pipe.
type outcome struct {
	Ready bool `json:"ready,omitempty"`
	// Running: another daemon serves the instance already.
	Running bool   `json:"running,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Announcer tells the launcher how the start went. A nil Announcer tells nobody, for a daemon in the foreground.
type Announcer struct{ pipe *os.File }

// NewAnnouncer returns an Announcer that writes to pipe, once, and then closes it.
func NewAnnouncer(pipe *os.File) *Announcer { return &Announcer{pipe: pipe} }

// Ready tells that the daemon is ready.
func (a *Announcer) Ready() { a.tell(outcome{Ready: true}) }

// Failed tells why it will never be. After Ready it tells nothing.
func (a *Announcer) Failed(err error) {
	a.tell(outcome{Running: errors.Is(err, ErrRunning), Error: err.Error()})
}

func (a *Announcer) tell(o outcome) {
	if a == nil || a.pipe == nil {
		return
	}
	// The launcher may have been interrupted: nobody waits, and nothing is lost.
	_ = json.NewEncoder(a.pipe).Encode(o)
	_ = a.pipe.Close()
	a.pipe = nil
}

// hear reads what the daemon tells; an error means that it ended without a word.
func hear(pipe io.Reader) (outcome, error) {
	var o outcome
	line, err := bufio.NewReader(pipe).ReadBytes('\n')
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(line, &o)
}
