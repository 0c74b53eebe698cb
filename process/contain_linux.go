package process

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// rlimitLocks is RLIMIT_LOCKS, which means nothing since Linux 2.4.25 and is unlimited everywhere. Its soft limit serves as
// the mark: it is inherited through fork, exec, setsid, the death of parents and changes of the environment, can be set
// without privileges, and is read by one short system call for each process.
const rlimitLocks = 10

// markFloor keeps marks away from limits that somebody could really mean.
const markFloor = 1 << 62

func limitOf(mark string) (uint64, error) {
	token, err := hex.DecodeString(mark)
	if err != nil || len(token) < minMark {
		return 0, errors.New("the mark is malformed")
	}
	return markFloor | binary.BigEndian.Uint64(token)>>2, nil
}

// enclose marks the caller and makes it inherit the orphans among its descendants. It returns the mark, or none if the hard
// limit leaves no room for one.
func enclose(mark string) (string, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return "", fmt.Errorf("cannot become a child subreaper: %w", err)
	}
	value, err := limitOf(mark)
	if err != nil {
		return "", err
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(0, rlimitLocks, nil, &limit); err != nil {
		return "", fmt.Errorf("cannot read the mark: %w", err)
	}
	if limit.Max < value {
		return "", nil
	}
	limit.Cur = value
	if err := unix.Prlimit(0, rlimitLocks, &limit, nil); err != nil {
		return "", fmt.Errorf("cannot set the mark: %w", err)
	}
	return mark, nil
}

// scan is one look for processes that carry the mark. It has settled if nobody has ended since the list was made; zombies are
// those that had ended before.
func scan(mark string, zombies map[Identity]bool) (found []Identity, settled bool, err error) {
	want, err := limitOf(mark)
	if err != nil {
		return nil, false, err
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, false, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, false, err
	}
	settled = true
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		carried, gone := carries(pid, want)
		if gone {
			settled = false
		}
		if !carried {
			continue
		}
		id, lives := verifyMark(pid, want)
		switch {
		case lives:
			found = append(found, id)
		case id.IsZero() || !zombies[id]:
			zombies[id], settled = true, false
		}
	}
	return found, settled, nil
}

// carries tells whether the process that wears pid has the mark, or whether nobody wears it. That of other users' processes
// cannot be read; nor could they be signalled.
func carries(pid int, want uint64) (carried, gone bool) {
	var limit unix.Rlimit
	err := unix.Prlimit(pid, rlimitLocks, nil, &limit)
	return err == nil && limit.Cur == want, errors.Is(err, unix.ESRCH)
}

// verifyMark looks at the mark once more while a handle tells whose it is, and whether he lives.
func verifyMark(pid int, want uint64) (id Identity, lives bool) {
	n, info, err := look(pid)
	if err != nil {
		return Identity{}, false
	}
	defer n.close()
	carried, _ := carries(pid, want)
	ended, err := n.ended()
	return info.Identity, carried && err == nil && !ended
}

// strays finds nobody: the head inherits all that lose their parents.
func strays(string) ([]Identity, error) { return nil, nil }

// reapAdopted reaps those zombies among the children of the process self, the caller, that it has inherited and that nobody
// else will wait for. Those that it has started itself belong to os/exec and to Child. To have been inherited is proven for
// those that were seen with another parent, and for those whose session neither they nor the caller lead, as after a double
// fork. The rest remain zombies until the caller ends.
func reapAdopted(self int, inherited func(Identity) bool) {
	own, err := readStat(self)
	if err != nil {
		return
	}
	boot, err := bootID()
	if err != nil {
		return
	}
	pids, err := childPIDs(self)
	if err != nil {
		return
	}
	for _, pid := range pids {
		s, err := readStat(pid)
		if err != nil || !s.dead() {
			continue
		}
		id := Identity{PID: pid, StartTime: s.start, BootID: boot}
		if inherited(id) || (s.session != own.session && s.session != pid) {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}
