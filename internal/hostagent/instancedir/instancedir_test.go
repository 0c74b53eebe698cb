package instancedir

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/process"
)

func place(t *testing.T, files map[string]string) Dir {
	t.Helper()
	d := Dir{Home: t.TempDir(), Name: "one"}
	for _, dir := range []string{d.Path(), d.RecordDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(d.Path(), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestClearKeepsTheInstanceAndTellsOfStrangers(t *testing.T) {
	d := place(t, map[string]string{
		"lima.yaml": "x", "disk": "x", "serial.log": "x", // stay
		"ha.sock": "", "serial.sock": "", "x.tmp": "",
		"ha.pid":      strconv.Itoa(os.Getpid()) + "\n", // alive, and not the agent's
		"qemu.pid":    "4194303",                        // nobody's
		"broken.pid":  "garbage",
		"vz.drv.pid":  "-1",
		"zero.pid":    "0",
		"ha.pid.note": "stays",
	})
	notices, err := d.Clear(process.Identity{})
	if err != nil {
		t.Fatal(err)
	}
	if len(notices) != 1 || notices[0].Reason != "ForeignProcess" || !strings.Contains(notices[0].Message, "in ha.pid is not ours") {
		t.Errorf("notices %+v", notices)
	}
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path(), "ha.pid"), []byte(strconv.Itoa(self.PID)), 0o600); err != nil {
		t.Fatal(err)
	}
	if notices, err := d.Clear(self); err != nil || len(notices) != 0 {
		t.Errorf("the agent's own PID: %v, %v", notices, err)
	}
	var left []string
	entries, err := os.ReadDir(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if text := strings.Join(left, " "); text != "disk ha.pid.note lima.yaml serial.log" {
		t.Errorf("left: %s", text)
	}
	if _, err := (Dir{Home: d.Home, Name: "nobody"}).Clear(process.Identity{}); err != nil {
		t.Errorf("an instance without a directory: %v", err)
	}
}

func TestClearReleasesOnlyItsOwnDisks(t *testing.T) {
	d := place(t, nil)
	for disk, holder := range map[string]string{"mine": d.Path(), "theirs": filepath.Join(d.Home, "two")} {
		dir := filepath.Join(d.Home, "_disks", disk)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(holder, filepath.Join(dir, "in_use_by")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Clear(process.Identity{}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(d.Home, "_disks", "*", "in_use_by"))
	if err != nil || len(left) != 1 || !strings.Contains(left[0], "theirs") {
		t.Errorf("locks left: %v, %v", left, err)
	}
}

// What a PID file holds is a positive number or nothing: 0 and -1 would mean a group, or everybody, to who signals.
func FuzzPID(f *testing.F) {
	for _, text := range []string{"4711\n", " 4711 ", "0", "-1", "", "4711 4712", "0x10", "99999999999999999999", "1e3", "\x00", "+7"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		pid, ok := parsePID(text)
		if ok != (pid > 0) {
			t.Errorf("%q is read as %d, %v", text, pid, ok)
		}
		if again, _ := parsePID([]byte(strconv.Itoa(pid) + "\n")); ok && again != pid {
			t.Errorf("%q is read as %d, which is read as %d", text, pid, again)
		}
	})
}
