package process

import (
	"errors"
	"io/fs"
	"testing"
)

// A process that Windows does not let us open is somebody all the same. Fails if look gives up where OpenProcess is denied:
// the stranger would be an error, and not known by name.
func TestWhoCannotBeOpenedIsNotGone(t *testing.T) {
	child := perform(t, "closed")
	child.expect(1)
	id := child.Identity()
	if n, err := openNative(id.PID); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("the process can be opened: %v, %v", n, err)
	}
	info, err := Describe(id.PID)
	if err != nil || info.Identity != id || info.Name == "" {
		t.Errorf("it is described as %+v (%v), want %v", info, err, id)
	}
	if _, err := Open(id); errors.Is(err, ErrGone) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Open: %v", err)
	}
	earlier := id
	earlier.StartTime--
	var stranger *StrangerError
	if _, err := Open(earlier); !errors.As(err, &stranger) || stranger.Found.Identity != id {
		t.Errorf("Open of one who wore the PID earlier: %v", err)
	}
	if err := KillTree(deadline(t), earlier); err != nil {
		t.Errorf("KillTree of one who is gone: %v", err)
	}
	if err := KillTree(deadline(t), id); err == nil || !alive(t, id) {
		t.Errorf("KillTree of one whom we may not end: %v", err)
	}
}
