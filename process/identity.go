package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// Identity names one process for good. The operating system gives a PID to another process as soon as its wearer is gone; a
// PID together with the kernel's start time of its wearer is never given out again.
//
// Two identities are of the same process if and only if they are equal (==). The zero value names no process.
type Identity struct {
	PID int `json:"pid"`
	// StartTime is the kernel's own record of when the process started, in the kernel's unit:
	//  Linux    clock ticks of 10 ms since boot (/proc/PID/stat, field 22)
	//  macOS    microseconds since 1970 (kinfo_proc.kp_proc.p_starttime)
	//  Windows  100 ns since 1601 (GetProcessTimes, creation time)
	// It is only good for comparing; Info.Started is for people.
	StartTime uint64 `json:"startTime"`
	// BootID names the boot of the machine that the process belongs to. Linux: /proc/sys/kernel/random/boot_id; macOS:
	// kern.bootsessionuuid; empty on Windows, whose start times are absolute.
	BootID string `json:"bootID,omitempty"`
}

// String is for logs: PID@StartTime.
func (id Identity) String() string {
	if id.IsZero() {
		return "none"
	}
	return strconv.Itoa(id.PID) + "@" + strconv.FormatUint(id.StartTime, 10)
}

// IsZero tells whether id names no process.
func (id Identity) IsZero() bool { return id == Identity{} }

// OfEarlierBoot tells whether the process belonged to an earlier boot of the machine, so that it has not ended by itself. Windows
// has no name for a boot: there a boot may go unnoticed whose clock was behind, or one after which Windows came back from the
// image of its kernel (fast startup).
func (id Identity) OfEarlierBoot() (bool, error) {
	if id.IsZero() {
		return false, nil
	}
	earlier, err := ofEarlierBoot(id)
	if err != nil {
		return false, fmt.Errorf("cannot tell which boot process %v is of: %w", id, err)
	}
	return earlier, nil
}

// Info describes a process for people.
type Info struct {
	Identity
	// Name of the program, without its directory. Linux and macOS cut it off after 15 bytes.
	Name string
	// Started is StartTime on the clock of the wall, as exactly as the platform tells.
	Started time.Time
}

// String is for logs: the name and the identity.
func (i Info) String() string { return i.Name + " " + i.Identity.String() }

// Self returns the identity of the calling process.
func Self() (Identity, error) { return Find(os.Getpid()) }

// Find returns the identity of the process that wears pid now, or ErrGone if there is none. It is for PIDs that come from
// elsewhere, such as PID files: what it finds need not be who was meant.
func Find(pid int) (Identity, error) {
	info, err := Describe(pid)
	return info.Identity, err
}

// Describe is Find, with a description of the process.
func Describe(pid int) (Info, error) {
	n, info, err := look(pid)
	switch {
	case err == nil:
		return info, n.close()
	case !info.IsZero():
		return info, nil // to be known, it need not be open to us
	default:
		return Info{}, fmt.Errorf("cannot find process %d: %w", pid, err)
	}
}

// look opens whoever wears pid now, and says who that is: info is of the process behind n and of no other. Where the system
// denies us that process, err says so, and info is what it tells everybody.
func look(pid int) (*native, Info, error) {
	if pid <= 0 {
		return nil, Info{}, ErrGone
	}
	n, err := openNative(pid)
	if errors.Is(err, fs.ErrPermission) {
		info, unknown := identify(pid)
		if unknown != nil {
			return nil, Info{}, unknown
		}
		return nil, info, err
	}
	if err != nil {
		return nil, Info{}, err
	}
	info, err := n.describe()
	if err != nil {
		_ = n.close()
		return nil, Info{}, err
	}
	return n, info, nil
}
