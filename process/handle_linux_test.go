package process

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestAliveWithoutDescriptors asks a closed handle when it cannot look again. It is not parallel to others: they would be short, too.
func TestAliveWithoutDescriptors(t *testing.T) {
	child := perform(t, "deaf")
	child.expect(1)
	h := child.open()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	alive := h.Alive()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if !alive {
		t.Error("a death that nobody saw is claimed")
	}
}
