package instancedir

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/process"
)

func place(t *testing.T, files map[string]string) Dir {
	t.Helper()
	d := Dir{Home: filepath.Join(t.TempDir(), "a [home]"), Name: "one"} // which is no pattern
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
	for disk, want := range map[string]bool{"mine": false, "theirs": true} {
		_, err := os.Lstat(filepath.Join(d.Home, "_disks", disk, "in_use_by"))
		if got := err == nil; got != want {
			t.Errorf("%s is locked: %v (%v)", disk, got, err)
		}
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

// TestNetworksAreFound has the record of one that is gone, in a home whose path is no pattern, and a file where networks are.
func TestNetworksAreFound(t *testing.T) {
	d := place(t, nil)
	record := NetworkRecord(filepath.Join(d.Home, "_networks", "shared", "usernet_shared.pid"))
	if err := os.MkdirAll(filepath.Dir(record), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Home, "_networks", ".lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := process.WriteRecord(record, process.Identity{PID: 4194303, StartTime: 1}); err != nil {
		t.Fatal(err)
	}
	if err := EndNetworks(t.Context(), d.Home); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(record); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its record is left: %v", err)
	}
}

// What a child of ours wrote before its disk failed, or a newer build wrote, must not keep an instance from being used.
func TestADamagedLedgerIsSetAside(t *testing.T) {
	for name, content := range map[string]string{
		"empty":           "",
		"torn":            `{"version":1,"head":{"pi`,
		"another version": `{"version":2,"head":{"pid":4194303,"startTime":1},"mark":"0123456789abcdef0123456789abcdef"}` + "\n",
		"another mark":    `{"version":2,"head":{"pid":4194303,"startTime":1},"mark":"of another kind"}` + "\n",
		"early one lost":  `{"version":1,"head":{"pid":4194303,"startTime":1},"before":1}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := place(t, nil)
			writeLedger(t, d, content)
			notice, err := d.EndFamily(t.Context())
			if err != nil || notice == nil || notice.Reason != "LedgerDamaged" {
				t.Fatalf("%+v, %v", notice, err)
			}
			if kept, err := os.ReadFile(d.Ledger() + ".damaged"); err != nil || string(kept) != content {
				t.Errorf("the evidence is %q, %v", kept, err)
			}
			if notice, err := d.EndFamily(t.Context()); err != nil || notice != nil {
				t.Errorf("again: %+v, %v", notice, err)
			}
		})
	}
}

// TestTheHeadOfADamagedLedgerIsSpared: while the head lives, nobody knows which of its children were there before. Here it is the
// test itself.
func TestTheHeadOfADamagedLedgerIsSpared(t *testing.T) {
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	head, err := json.Marshal(self)
	if err != nil {
		t.Fatal(err)
	}
	d := place(t, nil)
	writeLedger(t, d, `{"version":2,"head":`+string(head)+"}\n")
	if notice, err := d.EndFamily(t.Context()); !errors.Is(err, process.ErrDamaged) || notice != nil {
		t.Errorf("%+v, %v", notice, err)
	}
	if _, err := os.Stat(d.Ledger()); err != nil {
		t.Error(err)
	}
}

func writeLedger(t *testing.T, d Dir, content string) {
	t.Helper()
	if err := os.WriteFile(d.Ledger(), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
