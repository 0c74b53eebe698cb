package process

import (
	"errors"
	"fmt"
	"time"
)

// ErrGone says that the process has ended. A zombie has ended: it only waits for its parent to notice.
var ErrGone = errors.New("the process is gone")

// ErrDamaged says that a ledger cannot be understood, so that little or nothing is known of the family.
var ErrDamaged = errors.New("the ledger is damaged")

// StrangerError says that the PID of the process that was asked for is worn by another process now, so that the one that was
// asked for is gone. It matches ErrGone.
type StrangerError struct {
	Want  Identity
	Found Info
}

func (e *StrangerError) Error() string {
	return fmt.Sprintf("process %v is gone: its PID belongs to %q now, started %s", e.Want, e.Found.Name,
		e.Found.Started.Format(time.RFC3339))
}

// Is makes a StrangerError match ErrGone.
func (e *StrangerError) Is(target error) bool { return target == ErrGone }
