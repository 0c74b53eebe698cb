package process

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestExitStatus(t *testing.T) {
	for arg, code := range map[string]int{"0": 0, "3": 3} {
		child := perform(t, "exit", arg)
		<-child.Done()
		if got := child.ExitStatus(); got != "exit status "+arg || child.ExitCode() != code {
			t.Errorf("exit status %q, code %d", got, child.ExitCode())
		}
	}
}

func TestExitStatusOfTheLiving(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	if child.ExitStatus() != "" || child.ExitCode() != -1 {
		t.Errorf("a living child has exit status %q, code %d", child.ExitStatus(), child.ExitCode())
	}
	if err := child.open().Kill(); err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if child.ExitStatus() != killedStatus {
		t.Errorf("exit status of a killed child: %q", child.ExitStatus())
	}
}

func TestStartFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing")
	if _, err := Start(Command{Path: path}); !errors.Is(err, fs.ErrNotExist) || !bytes.Contains([]byte(err.Error()), []byte(path)) {
		t.Errorf("Start of a program that is not there: %v", err)
	}
}

// A child whose parent has no standard files must not find the leash in their place.
func TestMissingFilesAreTheNullDevice(t *testing.T) {
	rope, _ := pipe(t)
	_, proof := pipe(t)
	child, err := Start(Command{
		Path: executable(t), Args: []string{"exit", "5"}, Env: append(os.Environ(), roleVariable+"=exit"), Dir: t.TempDir(),
		ExtraFiles: []*os.File{rope, proof},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if child.ExitCode() != 5 {
		t.Errorf("exit status %s", child.ExitStatus())
	}
}
