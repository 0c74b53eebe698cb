package daemon

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// populate makes an instance with settings, credentials, a store with its logs, and a VM; it returns what a reset removes, and
// what it leaves. Its home would mean something in a pattern.
func populate(t *testing.T) (inst instance.Instance, gone, kept []string) {
	t.Helper()
	inst, err := instance.New("test", instance.Env{Home: filepath.Join(t.TempDir(), "[home]")})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(MakeDirs(inst), SaveSettings(inst, Settings{SecurePort: 7443, Controllers: "*"})); err != nil {
		t.Fatal(err)
	}
	gone = []string{
		inst.StoreFile(), inst.StoreFile() + "-wal", inst.StoreFile() + "-shm", inst.StoreFile() + "-journal", inst.StoreFile() + ".new",
		filepath.Join(inst.ShortDir, "_config", "user"), filepath.Join(inst.RecordDir("dev"), "worker.log"),
	}
	kept = []string{
		inst.Kubeconfig(), filepath.Join(inst.TLSDir(), "ca.key"), inst.StderrLog(), filepath.Join(inst.CacheDir(), "x"),
		inst.StoreFile() + ".bak", // the user's
	}
	for _, file := range append(append([]string{}, gone...), kept...) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("{}"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return inst, gone, append(kept, inst.SettingsFile())
}

func check(t *testing.T, files []string, want bool) {
	t.Helper()
	for _, file := range files {
		if _, err := os.Stat(file); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", file, !want, want)
		}
	}
}

func TestResetKeepsTheSettings(t *testing.T) {
	inst, gone, kept := populate(t)
	cfg := Config{Instance: inst, Executable: "rdd", Log: slog.New(slog.DiscardHandler)}
	for range 2 { // again is fine
		if err := Reset(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		check(t, gone, false)
		check(t, kept, true)
	}
	settings, _, err := LoadSettings(inst)
	if err != nil || settings.SecurePort != 7443 {
		t.Errorf("settings %+v, %v", settings, err)
	}
}

func TestResetRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, cfg *Config)
		says    string
	}{
		"under a living daemon": {func(t *testing.T, cfg *Config) {
			unlock, err := lock(cfg.Instance)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unlock() })
		}, "already served"},
		"a VM of somebody else": {func(t *testing.T, cfg *Config) {
			if err := os.MkdirAll(cfg.Instance.VMDir("theirs"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "theirs was not made by rdd"},
		"somebody else's datastore": {func(_ *testing.T, cfg *Config) {
			cfg.Settings.DatastoreEndpoint = "https://me:secret@etcd.example:2379"
		}, "kept at https://etcd.example:2379"},
	} {
		t.Run(name, func(t *testing.T) {
			inst, gone, kept := populate(t)
			cfg := Config{Instance: inst, Executable: "rdd", Log: slog.New(slog.DiscardHandler)}
			c.prepare(t, &cfg)
			if err := Reset(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Reset: %v, want %q", err, c.says)
			}
			check(t, append(gone, kept...), true)
		})
	}
}

func TestResetOfNothing(t *testing.T) {
	if err := Reset(t.Context(), Config{Instance: newInstance(t), Executable: "rdd", Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Error(err)
	}
}
