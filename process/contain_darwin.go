package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// markVariable names the environment variable that carries the mark.
const markVariable = "PROCESS_MARK"

// enclose marks the caller, and returns the mark.
func enclose(mark string) (string, error) {
	if err := os.Setenv(markVariable, mark); err != nil {
		return "", fmt.Errorf("cannot set the mark: %w", err)
	}
	return mark, nil
}

// scan is one look for processes of this user whose environment carries mark, as far as macOS shows it. It has settled if nobody
// has ended since the list was made; zombies are those that had ended before.
func scan(mark string, zombies map[Identity]bool) (found []Identity, settled bool, err error) {
	boot, err := bootID()
	if err != nil {
		return nil, false, err
	}
	table, err := unix.SysctlKinfoProcSlice("kern.proc.uid", os.Getuid())
	if err != nil {
		return nil, false, fmt.Errorf("cannot list the processes of this user: %w", err)
	}
	settled = true
	for i := range table {
		id := describe(&table[i], boot).Identity
		carried, lives := carries(id, mark)
		switch {
		case lives && carried:
			found = append(found, id)
		case !lives && !zombies[id]:
			zombies[id], settled = true, false
		}
	}
	return found, settled, nil
}

// carries looks at who wears the PID after the environment was read: the environment was his if he has worn it before. A zombie has
// none any more.
func carries(id Identity, mark string) (carried, lives bool) {
	raw, err := unix.SysctlRaw("kern.procargs2", id.PID)
	carried = err == nil && hasVariable(raw, markVariable+"="+mark)
	after, dead, err := lookUp(id.PID)
	return carried, err == nil && !dead && after.Identity == id
}

// strays returns those members that a walk from the head does not find.
func strays(mark string) ([]Identity, error) { return marked(mark) }

// reapAdopted has nothing to do: orphans belong to launchd.
func reapAdopted(int, func(Identity) bool) {}
