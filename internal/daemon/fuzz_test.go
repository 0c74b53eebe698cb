package daemon

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/seed-192657fa/rdd/process"
)

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"pid":1,"startTime":2}`))
	f.Add([]byte(`{"pid":-1}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		var record Record
		if json.Unmarshal(content, &record) == nil && !record.IsZero() {
			_ = record.String()
		}
	})
}

// FuzzSettings: whatever the file holds, settings that are taken are good ones.
func FuzzSettings(f *testing.F) {
	inst := newInstance(f)
	if err := MakeDirs(inst); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"securePort":6443,"controllers":"*"}`))
	f.Add([]byte(`{"securePort":-1}`))
	f.Add([]byte(`{"controllers":"-nobody"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(inst.SettingsFile(), content, 0o600); err != nil {
			t.Fatal(err)
		}
		settings, exists, err := LoadSettings(inst)
		if !exists {
			t.Error("settings that are there do not exist")
		}
		if err == nil && settings.Check() != nil {
			t.Errorf("bad settings were taken: %+v", settings)
		}
	})
}

// FuzzRequest: only a request that names this daemon, all of it, is one.
func FuzzRequest(f *testing.F) {
	inst := newInstance(f)
	if err := MakeDirs(inst); err != nil {
		f.Fatal(err)
	}
	self, err := process.Self()
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(request{Daemon: self, KeepVMs: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"keepVMs":true}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(requestFile(inst), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := readRequest(inst, self); r != nil && r.Daemon != self {
			t.Errorf("a request to %+v was taken for one to %+v", r.Daemon, self)
		}
	})
}
