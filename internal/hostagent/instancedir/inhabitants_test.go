package instancedir

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// lives starts a process with a working directory, and more in its environment, that waits for its standard input to close.
func lives(t *testing.T, dir, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script+"echo; read line")
	cmd.Dir = dir
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Wait()
	})
	if _, err := output.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func told(t *testing.T, d Dir) string {
	t.Helper()
	found, err := d.Inhabitants()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, who := range found {
		all = append(all, who.What)
	}
	return strings.Join(all, "; ")
}

func TestNobodyLivesIn(t *testing.T) {
	old := lives(t, "/", "")
	d := place(t, map[string]string{
		"disk": "x", "broken.pid": "garbage", "gone.pid": "4194303", "self.pid": strconv.Itoa(os.Getpid()),
		"recycled.pid": strconv.Itoa(old.Process.Pid),
	})
	// It was written long before the process that wears the PID now was born.
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(d.Path(), "recycled.pid"), then, then); err != nil {
		t.Fatal(err)
	}
	stale(t, filepath.Join(d.Path(), "ha.sock"))
	if text := told(t, d); text != "" {
		t.Errorf("told: %s", text)
	}
	for _, name := range []string{"nothing", "link to nowhere", "file"} {
		other := Dir{Home: d.Home, Name: name}
		switch name {
		case "file":
			if err := os.WriteFile(other.Path(), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		case "link to nowhere":
			if err := os.Symlink("nowhere", other.Path()); err != nil {
				t.Fatal(err)
			}
		}
		if text := told(t, other); text != "" {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// stale leaves a socket on which nobody listens any more.
func stale(t *testing.T, path string) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSomebodyLivesIn(t *testing.T) {
	for name, test := range map[string]struct {
		settle func(t *testing.T, d Dir)
		want   string
	}{
		"the wearer of a PID": {func(t *testing.T, d Dir) {
			pid := lives(t, "/", "").Process.Pid
			if err := os.WriteFile(filepath.Join(d.Path(), "qemu.pid"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "(sh) is named by qemu.pid"},
		"a listener": {func(t *testing.T, d Dir) {
			if err := os.Mkdir(filepath.Join(d.Path(), "swtpm"), 0o700); err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("unix", filepath.Join(d.Path(), "swtpm", "x.sock"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = listener.Close() })
		}, "somebody listens on x.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			d := place(t, nil)
			test.settle(t, d)
			if text := told(t, d); !strings.HasSuffix(text, test.want) {
				t.Errorf("told: %q", text)
			}
		})
	}
}

func TestMark(t *testing.T) {
	d := place(t, nil)
	if owner, err := d.Owner(); owner != "" || err != nil {
		t.Errorf("without a mark: %q, %v", owner, err)
	}
	if err := d.Mark("me"); err != nil {
		t.Fatal(err)
	}
	if owner, err := d.Owner(); owner != "me" || err != nil {
		t.Errorf("%q, %v", owner, err)
	}
}

// TestBuryTwice has a deletion die right after the move, and another directory be made of that name and buried.
func TestBuryTwice(t *testing.T) {
	d := place(t, map[string]string{"disk": "first"})
	if _, err := d.Bury(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.Path(), 0o700); err != nil {
		t.Fatal(err)
	}
	grave, err := d.Bury()
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(grave); len(left) != 0 || err != nil {
		t.Errorf("buried: %v, %v", left, err)
	}
	if err := d.EmptyGrave(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{d.Path(), grave} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func TestMoveAsideKeepsAll(t *testing.T) {
	d := place(t, map[string]string{"disk": "precious"})
	first, err := d.MoveAside()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.Path(), 0o700); err != nil {
		t.Fatal(err)
	}
	second, err := d.MoveAside()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(first, "disk")); string(text) != "precious" || err != nil || first == second {
		t.Errorf("%q, %v, then %s and %s", text, err, first, second)
	}
}
