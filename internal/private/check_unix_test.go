//go:build unix

package private_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/private"
)

// TestCheck opens each thing that must be private to others, one at a time.
func TestCheck(t *testing.T) {
	inst, err := instance.New("test", instance.Env{Home: filepath.Join(t.TempDir(), "[home]")})
	if err != nil {
		t.Fatal(err)
	}
	if err := private.Check(inst); err != nil {
		t.Errorf("where there is nothing yet: %v", err)
	}
	for _, dir := range []string{inst.Dir, inst.ShortDir, inst.RequestsDir(), inst.TLSDir(), inst.Records(), inst.RecordDir("dev")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{
		inst.Kubeconfig(), inst.StoreFile(), inst.SettingsFile(), inst.RecordFile(), filepath.Join(inst.TLSDir(), "ca.key"),
		filepath.Join(inst.RecordDir("dev"), "record.json"), inst.ControllersToken("lima"), inst.ControllersKubeconfig("lima"),
	} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := private.Check(inst); err != nil {
		t.Fatal(err)
	}
	paths := private.Paths(inst)
	if len(paths) != 13 {
		t.Errorf("%d paths are checked: %q", len(paths), paths)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, bit := range []os.FileMode{0o040, 0o020, 0o010, 0o004, 0o002, 0o001} {
			if err := os.Chmod(path, info.Mode().Perm()|bit); err != nil {
				t.Fatal(err)
			}
			err := private.Check(inst)
			var open *private.TooOpenError
			if !errors.As(err, &open) || open.Path != path || !strings.Contains(err.Error(), `"rdd doctor --fix" mends it`) {
				t.Errorf("%s with bit %o: %v", path, bit, err)
			}
			if err := private.Mend(path); err != nil {
				t.Fatal(err)
			}
			if mended, err := os.Stat(path); err != nil || mended.Mode() != info.Mode() {
				t.Errorf("%s was mended to %v, %v", path, mended.Mode(), err)
			}
		}
	}
}

func TestALinkIsItsOwnersToProtect(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(target, nil, 0o644), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if found, err := private.Problem(link); found != "" || err != nil {
		t.Errorf("Problem: %q, %v", found, err)
	}
}
