package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-192657fa/rdd/internal/durable"
)

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range found {
		names = append(names, entry.Name())
	}
	return names
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, content := range []string{"one", "two"} {
		if err := durable.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != content {
			t.Errorf("%q, %v", text, err)
		}
	}
	if err := durable.WriteFile(filepath.Join(path, "below", "a file"), nil, 0o600); err == nil {
		t.Error("a file below a file was written")
	}
	if left := entries(t, dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// TestFailedRenameChangesNothing has a directory in the place of the file, so that the last step fails.
func TestFailedRenameChangesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("one"), 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if left := entries(t, dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSweepTakesLeftoversOfThatFileOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[odd] name")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "user")
	if _, err := durable.WriteTemp(path, []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"user", "user.pub", ".other.1.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.Sweep(path); err != nil {
		t.Fatal(err)
	}

	if left := entries(t, dir); len(left) != 3 {
		t.Errorf("left: %v", left)
	}
}
