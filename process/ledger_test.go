package process

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func testEntries(n int) (entries []entry, ids []Identity) {
	for i := range n {
		id := Identity{PID: i + 1, StartTime: uint64(i), BootID: "b"}
		ids = append(ids, id)
		entries = append(entries, entry{Identity: id, Name: "n"})
	}
	return entries, ids
}

func TestLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	if _, err := ReadFamily(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a ledger that is not there: %v", err)
	}
	want := header{Version: ledgerVersion, Head: Identity{PID: 7, StartTime: 8}, Mark: "0123456789abcdef", Before: 1, before: []Identity{{PID: 9, StartTime: 9}}}
	l, err := createLedger(path, want)
	if err != nil {
		t.Fatal(err)
	}
	entries, ids := testEntries(5)
	for _, part := range [][]entry{entries[:2], nil, entries[2:]} {
		if err := l.add(part); err != nil {
			t.Fatal(err)
		}
	}
	expectLedger(t, path, want, ids)
	if err := l.rewrite(entries[3:]); err != nil {
		t.Fatal(err)
	}
	if err := l.add(entries[:1]); err != nil {
		t.Fatal(err)
	}
	expectLedger(t, path, want, []Identity{ids[3], ids[4], ids[0]})
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
}

func expectLedger(t *testing.T, path string, want header, ids []Identity) {
	t.Helper()
	h, known, err := readLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, want) || !slices.Equal(known, ids) {
		t.Errorf("the ledger holds %+v %v, want %+v %v", h, known, want, ids)
	}
}

func TestADamagedLineCostsOneEntry(t *testing.T) {
	h := header{Version: ledgerVersion, Head: Identity{PID: 7, StartTime: 8}}
	entries, ids := testEntries(4)
	whole := lines(&h, entries)
	for cut := range whole { // the writer may die, and the disk may be full, anywhere
		_, known, err := parseLedger(bytes.NewReader(whole[:cut]))
		complete := bytes.Count(whole[:cut], []byte("\n")) - 1
		if complete < 0 {
			continue
		}
		if err != nil || len(known) < complete || !slices.Equal(known, ids[:len(known)]) {
			t.Fatalf("cut after %d bytes: %v (%v), want at least %d entries", cut, known, err, complete)
		}
	}
	parts := bytes.SplitAfter(whole, []byte("\n"))
	parts[2] = []byte("{\"pid\":2," + strings.Repeat("x", 2*maxLine) + "\n")
	_, known, err := parseLedger(bytes.NewReader(bytes.Join(parts, nil)))
	if want := []Identity{ids[0], ids[2], ids[3]}; err != nil || !slices.Equal(known, want) {
		t.Errorf("with a damaged line: %v (%v), want %v", known, err, want)
	}
}

func TestALedgerOfAnotherKindIsRefused(t *testing.T) {
	for name, content := range map[string]string{
		"empty":           "",
		"zeros":           strings.Repeat("\x00", 100),
		"foreign":         "1234\n",
		"another version": `{"version":2,"head":{"pid":1,"startTime":1}}` + "\n",
		"bad mark":        `{"version":1,"head":{"pid":1,"startTime":1},"mark":"m"}` + "\n",
		"headless":        `{"version":1}` + "\n",
		"early one lost":  `{"version":1,"head":{"pid":1,"startTime":1},"before":1}` + "\n" + `{"pid":2,"startTime":2}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if family, err := ReadFamily(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: read as %+v (%v)", name, family, err)
		}
		if err := checkLeftovers(path); err != nil {
			t.Errorf("%s: the path cannot be used any more: %v", name, err)
		}
	}
}

func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rdd.pid")
	if _, err := ReadRecord(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record that is not there: %v", err)
	}
	for _, want := range []Identity{{PID: 1, StartTime: 2, BootID: "b"}, {PID: 3, StartTime: 4}} {
		if err := os.WriteFile(path+".tmp", []byte("of a crash"), 0o444); err != nil {
			t.Fatal(err)
		}
		if err := WriteRecord(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadRecord(path); err != nil || got != want {
			t.Errorf("record %v (%v), want %v", got, err, want)
		}
	}
	for _, content := range []string{"", "1234\n", `{"version":2,"pid":1}`, `{"version":1}`} {
		if id, err := parseRecord([]byte(content)); err == nil {
			t.Errorf("%q is read as %v", content, id)
		}
	}
}

// TestALedgerThatCannotBeOpenedGoesOnLater fails for good if a rewrite that fails leaves the ledger without a file.
func TestALedgerThatCannotBeOpenedGoesOnLater(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger")
	want := header{Version: ledgerVersion, Head: Identity{PID: 7, StartTime: 8}}
	l, err := createLedger(path, want)
	if err != nil {
		t.Fatal(err)
	}
	entries, ids := testEntries(2)
	l.path = filepath.Join(dir, "missing", "ledger")
	if err := l.rewrite(entries); err == nil {
		t.Fatal("a ledger was written into a directory that is missing")
	}
	if err := l.add(entries[:1]); err == nil {
		t.Fatal("a ledger that is not open took an entry")
	}
	l.path = path
	if err := l.add(entries); err != nil {
		t.Fatal(err)
	}
	expectLedger(t, path, want, ids)
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
}
