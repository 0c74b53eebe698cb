package control

import (
	"errors"
	"fmt"
	"slices"
)

const (
	// Protocol is the version that this build speaks best. An agent outlives the daemon that started it, and a new binary is
	// started by a daemon that an older one runs: so each side meets older and newer ones.
	Protocol = 2
	// OldestProtocol is the oldest version that this build still speaks.
	OldestProtocol = 1
)

// ErrIncompatible means that the agent is the one that was asked for, and that there is no protocol which both sides speak.
var ErrIncompatible = errors.New("the agent is of a build that is too different from this one")

// Versions are the protocols that a build speaks: all from Oldest to Newest.
type Versions struct {
	Oldest int `json:"oldest"`
	Newest int `json:"newest"`
}

// Spoken are those of this build.
func Spoken() Versions { return Versions{OldestProtocol, Protocol} }

// Agree returns the newest version that both sides speak.
func (v Versions) Agree(other Versions) (int, error) {
	newest := min(v.Newest, other.Newest)
	if newest < max(v.Oldest, other.Oldest) {
		return 0, fmt.Errorf("%w: it speaks protocol %s, this is %s", ErrIncompatible, other, v)
	}
	return newest, nil
}

// String is "2", or "1 to 2".
func (v Versions) String() string {
	if v.Oldest == v.Newest {
		return fmt.Sprint(v.Newest)
	}
	return fmt.Sprintf("%d to %d", v.Oldest, v.Newest)
}

// news is what each version has brought, for people: what an agent of an earlier one cannot do.
func news() map[int]string {
	return map[int]string{
		2: "tell since when the VM runs, so that earlier crashes are forgotten ten minutes after the daemon has taken it over, at last",
	}
}

// Lacks tells what an agent of that protocol cannot do, and this build can.
func Lacks(protocol int) []string {
	var lacks []string
	for version, what := range news() {
		if version > protocol {
			lacks = append(lacks, what)
		}
	}
	slices.Sort(lacks)
	return lacks
}
