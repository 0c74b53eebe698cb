package process

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Values of extern_proc.p_stat, from <sys/proc.h>.
const (
	stateStopped = 4 // SSTOP
	stateZombie  = 5 // SZOMB
)

// kinfo asks for what proc_pidinfo(PROC_PIDTBSDINFO) would tell, without cgo.
func kinfo(pid int) (*unix.KinfoProc, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.ESRCH) {
		return nil, ErrGone // EIO: the answer was empty
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask for process %d: %w", pid, err)
	}
	return info, nil
}

// lookUp describes whoever wears pid, and tells whether it is a zombie.
func lookUp(pid int) (info Info, dead bool, err error) {
	k, err := kinfo(pid)
	if err != nil {
		return Info{}, false, err
	}
	boot, err := bootID()
	if err != nil {
		return Info{}, false, err
	}
	return describe(k, boot), k.Proc.P_stat == stateZombie, nil
}

func identify(pid int) (Info, error) {
	info, _, err := lookUp(pid)
	return info, err
}

func describe(k *unix.KinfoProc, boot string) Info {
	start := k.Proc.P_starttime
	return Info{
		Identity: Identity{PID: int(k.Proc.P_pid), StartTime: uint64(start.Sec)*1e6 + uint64(start.Usec), BootID: boot},
		Name:     unix.ByteSliceToString(k.Proc.P_comm[:]),
		Started:  time.Unix(start.Sec, int64(start.Usec)*1000),
	}
}

func bootID() (string, error) {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return "", fmt.Errorf("cannot tell this boot of the machine from others: %w", err)
	}
	return id, nil
}

// newLister reads the whole process table at once.
func newLister() (lister, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	table, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of the machine: %w", err)
	}
	children := map[int][]Identity{}
	for i := range table {
		if table[i].Proc.P_stat != stateZombie {
			parent := int(table[i].Eproc.Ppid)
			children[parent] = append(children[parent], describe(&table[i], boot).Identity)
		}
	}
	return func(parent Identity) ([]Identity, error) { return children[parent.PID], nil }, nil
}
