package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

// pretend makes this process the daemon of an instance, as far as its record tells.
func pretend(t *testing.T, inst instance.Instance, change func(*daemon.Record)) {
	t.Helper()
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	record := daemon.Record{Identity: self, Address: "127.0.0.1:6445", Version: "1.2.3", StartedAt: now, Ready: &now}
	change(&record)
	content, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inst.RecordFile(), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAnotherVersionIsNoticed: whoever has upgraded rdd is told that the old one still runs, and how to replace it.
func TestAnotherVersionIsNoticed(t *testing.T) {
	home := t.TempDir()
	inst, err := instance.New("", instance.Env{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*daemon.Record)
		want   string
	}{
		"the same":      {func(*daemon.Record) {}, ""},
		"another":       {func(r *daemon.Record) { r.Version = "1.2.2" }, "The daemon runs version 1.2.2, this is version 1.2.3: "},
		"another build": {func(r *daemon.Record) { r.Build = "an older file" }, "The daemon runs another build of version 1.2.3, this is version 1.2.3: "},
	} {
		t.Run(name, func(t *testing.T) {
			pretend(t, inst, c.change)
			for _, command := range []string{"start", "status"} {
				stdout, stderr, code := rdd(t, home, nil, "svc", command)
				offers := strings.Contains(stderr, `"rdd svc restart" replaces it and leaves the VMs running`)
				if code != 0 || !strings.HasPrefix(stderr, c.want) || offers != (c.want != "") || strings.Contains(stdout, "restart") {
					t.Errorf("svc %s: exit code %d, %q, %q", command, code, stdout, stderr)
				}
			}
			stdout, stderr, code := rdd(t, home, nil, "svc", "status", "-o", "json")
			var status serviceStatus
			if err := json.Unmarshal([]byte(stdout), &status); err != nil || code != 0 || stderr != "" {
				t.Fatalf("exit code %d, %v, %s", code, err, stderr)
			}
			if !strings.HasPrefix(status.Notice, c.want) || (status.Notice == "") != (c.want == "") {
				t.Errorf("notice %q", status.Notice)
			}
		})
	}
}

// TestResetOfADatastoreOfOthers has the objects elsewhere by a setting, and by a flag that holds for one session.
func TestResetOfADatastoreOfOthers(t *testing.T) {
	const endpoint = "--datastore-endpoint=http://127.0.0.1:2379"
	for name, arrange := range map[string]func(t *testing.T, home string, inst instance.Instance){
		"setting": func(t *testing.T, home string, _ instance.Instance) {
			if _, stderr, code := rdd(t, home, nil, "svc", "create", endpoint); code != 0 {
				t.Fatal(stderr)
			}
		},
		"session": func(t *testing.T, home string, inst instance.Instance) {
			if _, stderr, code := rdd(t, home, nil, "svc", "create"); code != 0 {
				t.Fatal(stderr)
			}
			pretend(t, inst, func(r *daemon.Record) { r.Session = []string{endpoint} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			inst, err := instance.New("", instance.Env{Home: home})
			if err != nil {
				t.Fatal(err)
			}
			arrange(t, home, inst)
			_, stderr, code := rdd(t, home, nil, "svc", "reset")
			if code != 1 || !strings.Contains(stderr, "its objects are kept at http://127.0.0.1:2379, which is for its owner to empty") {
				t.Errorf("exit code %d, %s", code, stderr)
			}
			if _, err := os.Stat(inst.SettingsFile()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeepLogs(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "false": false, "1": true, "true": true, "yes": true} {
		if got := parseEnvironment([]string{"RDD_KEEP_LOGS=" + value}).keepLogs; got != want {
			t.Errorf("RDD_KEEP_LOGS=%s keeps logs: %t, want %t", value, got, want)
		}
	}
}
