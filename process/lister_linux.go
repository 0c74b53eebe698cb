package process

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// newLister asks /proc/PID/task/*/children, whose cost is that of the processes asked about and not that of all processes of
// the machine. Kernels without that file (CONFIG_PROC_CHILDREN) make us read all of /proc.
func newLister() (lister, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat("/proc/thread-self/children"); err != nil {
		return tableLister(boot)
	}
	return func(parent Identity) ([]Identity, error) { return childrenOf(parent.PID, boot) }, nil
}

func childrenOf(parent int, boot string) ([]Identity, error) {
	pids, err := childPIDs(parent)
	if err != nil {
		return nil, err
	}
	var found []Identity
	for _, pid := range pids {
		if s, err := readStat(pid); err == nil && s.parent == parent && !s.dead() {
			found = append(found, Identity{PID: pid, StartTime: s.start, BootID: boot})
		}
	}
	return found, nil
}

// childPIDs returns the PIDs of the children of a process, zombies included.
func childPIDs(parent int) ([]int, error) {
	dir := "/proc/" + strconv.Itoa(parent) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil, goneIfMissing(err)
	}
	var pids []int
	var buffer [512]byte
	for _, thread := range threads {
		line, err := slurp(dir+"/"+thread.Name()+"/children", buffer[:])
		if len(line) == len(buffer) {
			line, err = os.ReadFile(dir + "/" + thread.Name() + "/children")
		}
		if err = goneIfMissing(err); errors.Is(err, ErrGone) {
			continue // that thread has ended, and another one has inherited its children
		}
		if err != nil {
			return nil, err
		}
		for _, field := range bytes.Fields(line) {
			pid, err := strconv.Atoi(string(field))
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func tableLister(boot string) (lister, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]Identity{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && !s.dead() {
			children[s.parent] = append(children[s.parent], Identity{PID: pid, StartTime: s.start, BootID: boot})
		}
	}
	return func(parent Identity) ([]Identity, error) { return children[parent.PID], nil }, nil
}

func goneIfMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return ErrGone
	}
	return err
}
