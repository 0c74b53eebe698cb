package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAFileThatIsReadIsReplaced has a reader in the way that shares nothing, as virus scanners do, and lets go after a moment.
func TestAFileThatIsReadIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rdd.pid")
	want := Identity{PID: 2, StartTime: 2}
	if err := WriteRecord(path, Identity{PID: 1, StartTime: 1}); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".moved"); err == nil {
		t.Fatal("a file that is read was moved: the reader is in nobody's way")
	}
	time.AfterFunc(4*renamePause, func() { _ = reader.Close() })
	if err := WriteRecord(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadRecord(path); err != nil || got != want {
		t.Errorf("record %v (%v), want %v", got, err, want)
	}
}
