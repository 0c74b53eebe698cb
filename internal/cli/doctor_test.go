package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/doctor"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// TestDamagedFiles: whoever cannot start a control plane is told which file it is, and what to do.
func TestDamagedFiles(t *testing.T) {
	home := t.TempDir()
	inst, err := instance.New("", instance.Env{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	for check, damaged := range map[string]string{"settings": inst.SettingsFile(), "datastore": inst.StoreFile()} {
		t.Run(check, func(t *testing.T) {
			if err := os.WriteFile(damaged, []byte("{ no settings, and no store"), 0o600); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, code := rdd(t, home, nil, "doctor", "-o", "json")
			var findings []doctor.Finding
			if err := json.Unmarshal([]byte(stdout), &findings); err != nil {
				t.Fatal(err, stderr)
			}
			for _, finding := range findings {
				if finding.Check != check && finding.Check != "settings" && finding.Check != "datastore" {
					continue
				}
				if broken := finding.Status == doctor.Broken; broken != (finding.Check == check) || broken && !strings.Contains(finding.Message, damaged) {
					t.Errorf("%+v", finding)
				}
			}
			if code != exitFailed {
				t.Errorf("exit code %d", code)
			}
			if err := os.Remove(damaged); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := os.WriteFile(inst.SettingsFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"status", "reset", "start"} {
		if _, stderr, code := rdd(t, home, nil, "svc", command); code != exitFailed || !strings.Contains(stderr, inst.SettingsFile()) ||
			!strings.Contains(stderr, "mend that file, or remove it") {
			t.Errorf("svc %s: exit code %d, %s", command, code, stderr)
		}
	}
}
