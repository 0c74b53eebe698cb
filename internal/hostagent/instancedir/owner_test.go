package instancedir

import (
	"os"
	"path/filepath"
	"testing"
)

// TestALinkIsNotBuried: the link alone would be deleted, and its disks would stay while the instance is said to be gone.
func TestALinkIsNotBuried(t *testing.T) {
	d := place(t, map[string]string{"disk": "x"})
	elsewhere := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(d.Path(), elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, d.Path()); err != nil {
		t.Fatal(err)
	}
	if grave, err := d.Bury(); err == nil {
		t.Errorf("a link was buried in %s", grave)
	}
	for _, path := range []string{d.Path(), filepath.Join(elsewhere, "disk")} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if err := os.Remove(d.Path()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(elsewhere, d.Path()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Bury(); err != nil {
		t.Errorf("back in its place: %v", err)
	}
	if err := d.EmptyGrave(); err != nil {
		t.Error(err)
	}
}
