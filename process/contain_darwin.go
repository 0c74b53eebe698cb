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

// marked returns the living processes of this user whose environment carries mark, as far as macOS shows it.
func marked(mark string) ([]Identity, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	table, err := unix.SysctlKinfoProcSlice("kern.proc.uid", os.Getuid())
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of this user: %w", err)
	}
	var found []Identity
	for i := range table {
		id := describe(&table[i], boot).Identity
		if table[i].Proc.P_stat != stateZombie && carries(id, mark) {
			found = append(found, id)
		}
	}
	return found, nil
}

// carries looks at who wears the PID after the environment was read: the environment was his if he has worn it before.
func carries(id Identity, mark string) bool {
	raw, err := unix.SysctlRaw("kern.procargs2", id.PID)
	if err != nil || !hasVariable(raw, markVariable+"="+mark) {
		return false
	}
	after, dead, err := lookUp(id.PID)
	return err == nil && !dead && after.Identity == id
}

// strays returns those members that a walk from the head does not find.
func strays(mark string) ([]Identity, error) { return marked(mark) }

// reapAdopted has nothing to do: orphans belong to launchd.
func reapAdopted(int, func(Identity) bool) {}
