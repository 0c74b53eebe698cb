package instancedir

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-192657fa/rdd/process"
)

// users finds the processes that have their working directory, their program or an open file below root. Those of other
// users do not show theirs; root's aside, they cannot have entered LIMA_HOME.
func users(root string) ([]Inhabitant, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []Inhabitant
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		before, err := process.Find(pid)
		if err != nil {
			continue
		}
		what := use(pid, root)
		if what == "" {
			continue
		}
		if info, err := process.Describe(pid); err == nil && info.Identity == before {
			found = append(found, Inhabitant{Process: before, What: fmt.Sprintf("PID %d (%s) %s", pid, info.Name, what)})
		}
	}
	return found, nil
}

// use tells what a process has below root; empty if it has nothing there that it shows.
func use(pid int, root string) string {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	for _, place := range []struct{ link, what string }{
		{"cwd", "has its working directory there"}, {"exe", "was started from there"},
	} {
		if target, err := os.Readlink(filepath.Join(proc, place.link)); err == nil && below(target, root) {
			return place.what
		}
	}
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return ""
	}
	for _, file := range files {
		if target, err := os.Readlink(filepath.Join(proc, "fd", file.Name())); err == nil && below(target, root) {
			return "has " + filepath.Base(target) + " open"
		}
	}
	return ""
}

func below(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
