package lima

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/internal/durable"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// graceFile lies beside the record, of which it is no part: whoever works on the instance meanwhile has a copy of that in hand.
func graceFile(dir instancedir.Dir) string { return filepath.Join(dir.RecordDir(), "grace") }

// SetGrace implements vm.Driver.
func (d *Driver) SetGrace(name string, grace time.Duration) error {
	return d.request("note the grace of", name, false, func(s *supervisor) error { return s.setGrace(grace) })
}

func (s *supervisor) setGrace(grace time.Duration) error {
	s.mu.Lock()
	state, noted := s.state, s.grace
	s.mu.Unlock()
	switch state {
	case vm.Stopped, vm.Starting, vm.Running, vm.Stopping:
	default:
		return vm.StateError(state)
	}
	if noted == grace {
		return nil
	}
	if err := durable.WriteFile(graceFile(s.dir), []byte(grace.String()+"\n"), 0o600); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grace = grace
	return nil
}

// readGrace returns 0 where none was noted.
func readGrace(dir instancedir.Dir) time.Duration {
	text, err := os.ReadFile(graceFile(dir))
	if err != nil {
		return 0
	}
	grace, _ := time.ParseDuration(strings.TrimSpace(string(text)))
	return max(0, grace)
}

// Graces are those that SetGrace has noted, by the names of the VMs, for an instance of rdd with the given LIMA_HOME and suffix.
func Graces(home, suffix string) map[string]time.Duration {
	graces := map[string]time.Duration{}
	entries, _ := os.ReadDir(instancedir.Records(home)) // what cannot be read tells nothing
	for _, entry := range entries {
		if grace := readGrace(instancedir.Dir{Home: home, Name: entry.Name()}); grace > 0 {
			graces[strings.TrimSuffix(entry.Name(), suffix)] = grace
		}
	}
	return graces
}
