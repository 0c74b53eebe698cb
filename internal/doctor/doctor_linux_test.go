package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

// patient is an instance with one VM that has left a socket, and a PID file that names this very process.
func patient(t *testing.T, child process.Identity) (Config, instancedir.Dir) {
	t.Helper()
	inst, err := instance.New("t", instance.Env{Home: filepath.Join(t.TempDir(), "[home]")})
	if err != nil {
		t.Fatal(err)
	}
	dir := instancedir.Dir{Home: inst.LimaHome(), Name: "vm"}
	for _, path := range []string{inst.Dir, dir.Path(), dir.RecordDir()} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	record, err := json.Marshal(map[string]any{"child": child})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(dir.RecordDir(), "record.json"): string(record),
		filepath.Join(dir.Path(), "ha.sock"):          "",
		filepath.Join(dir.Path(), "qemu.pid"):         fmt.Sprint(os.Getpid()),
		dir.Template():                                "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Config{Instance: inst, Env: os.Environ(), CheckStore: func(context.Context) error { return nil }}, dir
}

func gone(t *testing.T) process.Identity {
	t.Helper()
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	self.StartTime-- // the PID is worn by somebody else now
	return self
}

func find(findings []Finding, name string) Finding {
	for _, finding := range findings {
		if finding.Check == name {
			return finding
		}
	}
	return Finding{}
}

func TestStaleFilesAreFoundAndMended(t *testing.T) {
	cfg, dir := patient(t, gone(t))
	found := Examine(t.Context(), cfg)
	if f := find(found, "stale files"); f.Status != Warning || f.Remedy != byFix {
		t.Errorf("stale files: %+v", f)
	}
	if f := find(found, "foreign processes"); f.Status != Warning || !strings.Contains(f.Message, fmt.Sprint(os.Getpid())) {
		t.Errorf("foreign processes: %+v", f)
	}
	if len(leftovers(dir)) != 2 {
		t.Errorf("looking has changed something: %v", leftovers(dir))
	}
	cfg.Fix = true
	if f := find(Examine(t.Context(), cfg), "stale files"); f.Status != Fixed {
		t.Errorf("mended: %+v", f)
	}
	if _, err := os.Stat(dir.Template()); err != nil || len(leftovers(dir)) != 0 {
		t.Errorf("left: %v; the template: %v", leftovers(dir), err)
	}
}

func TestFilesOfWhatMayRunAreLeftAlone(t *testing.T) {
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(*testing.T) (Config, instancedir.Dir){
		"the child lives": func(t *testing.T) (Config, instancedir.Dir) { return patient(t, self) },
		"a record that cannot be read": func(t *testing.T) (Config, instancedir.Dir) {
			cfg, dir := patient(t, gone(t))
			if err := os.WriteFile(filepath.Join(dir.RecordDir(), "record.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			return cfg, dir
		},
		"a damaged ledger": func(t *testing.T) (Config, instancedir.Dir) {
			cfg, dir := patient(t, gone(t))
			if err := os.WriteFile(dir.Ledger(), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			return cfg, dir
		},
		"a daemon lives": func(t *testing.T) (Config, instancedir.Dir) {
			cfg, dir := patient(t, gone(t))
			cfg.Running = true
			return cfg, dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, dir := plant(t)
			cfg.Fix = true
			Examine(t.Context(), cfg)
			if len(leftovers(dir)) != 2 {
				t.Errorf("removed; left are %v", leftovers(dir))
			}
		})
	}
}

func TestOpenFilesAreFoundAndMended(t *testing.T) {
	cfg, _ := patient(t, gone(t))
	if err := os.WriteFile(cfg.Instance.Kubeconfig(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{cfg.Instance.Dir: 0o755, cfg.Instance.Kubeconfig(): 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if found := Examine(t.Context(), cfg); Sound(found) {
		t.Errorf("nothing is broken: %+v", found)
	}
	cfg.Fix = true
	Examine(t.Context(), cfg)
	for path, want := range map[string]os.FileMode{cfg.Instance.Dir: 0o700, cfg.Instance.Kubeconfig(): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestMissingPrograms(t *testing.T) {
	cfg, _ := patient(t, gone(t))
	bin := t.TempDir()
	cfg.Env = []string{"PATH=" + bin}
	if err := os.WriteFile(filepath.Join(bin, "dnf"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	found := Examine(t.Context(), cfg)
	if f := find(found, "ssh"); f.Status != Broken || f.Remedy != "sudo dnf install openssh-clients" {
		t.Errorf("ssh: %+v", f)
	}
	if f := find(found, "QEMU"); f.Status != Broken || !strings.HasPrefix(f.Remedy, "sudo dnf install qemu-system-") {
		t.Errorf("QEMU: %+v", f)
	}
}

func TestQEMUVersion(t *testing.T) {
	for text, want := range map[string]string{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)": "7.2.22", "QEMU emulator version 10.0.2\nCopyright": "10.0.2", "nonsense": "",
	} {
		if _, got := qemuVersion(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
