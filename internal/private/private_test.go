//go:build unix

package private_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-192657fa/rdd/internal/private"
)

func TestMkdirAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for _, mode := range []os.FileMode{0, 0o755, 0o500} { // new, open to others, closed to others by somebody's choice
		want := os.FileMode(0o700)
		if mode != 0 {
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
		}
		if mode == 0o500 {
			want = mode
		}
		if err := private.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode %o became %v, %v", mode, info.Mode(), err)
		}
	}
}

func TestMkdirAllOverAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := private.MkdirAll(file); err == nil {
		t.Error("a file was taken for a directory")
	}
}
