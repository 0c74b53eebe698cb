package control

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestJournalKeepsLinesWhole(t *testing.T) {
	journal, err := CreateJournal(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`{"a"`, `:1}`, "\n{\"b\":2}\n{", "not json\n", "{\"c\":3}\n"} {
		if n, err := journal.Write([]byte(part)); err != nil || n != len(part) {
			t.Fatal(n, err)
		}
	}
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = journal.Follow(t.Context(), 0, func(entry Entry) error {
		got = append(got, string(entry.Event))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(got, " "); text != `{"a":1} {"b":2} {"c":3}` {
		t.Errorf("read %s", text)
	}
	if _, err := journal.Write([]byte("x\n")); err == nil {
		t.Error("a closed journal took an event")
	}
}

func TestJournalFollowersEndWithTheirContext(t *testing.T) {
	journal, err := CreateJournal(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := journal.Follow(ctx, 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("follow: %v", err)
	}
	if err := journal.Follow(t.Context(), 5, nil); err == nil {
		t.Error("an offset behind the end was followed")
	}
}

// TestJournalKeepsWhatTheDiskDoesNotTake has a file that cannot be written to stand for a full disk.
func TestJournalKeepsWhatTheDiskDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		journal, err := CreateJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		disk := journal.file
		full, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer full.Close()
		journal.file = full
		for _, part := range []string{"{\"a\":1}\n{\"b\"", ":2}\n{"} {
			if n, err := journal.Write([]byte(part)); err == nil || n != len(part) {
				t.Fatalf("written to a full disk: %d, %v", n, err)
			}
		}
		time.Sleep(2 * retryPause)
		if size := journal.Size(); size != 0 {
			t.Errorf("the journal ends at %d", size)
		}
		journal.mu.Lock()
		journal.file = disk
		journal.mu.Unlock()
		time.Sleep(2 * retryPause) // nobody writes, and it comes all the same
		synctest.Wait()
		if text, err := os.ReadFile(path); err != nil || string(text) != "{\"a\":1}\n{\"b\":2}\n" {
			t.Errorf("on disk: %q, %v", text, err)
		}
		if _, err := journal.Write([]byte("}\n")); err != nil {
			t.Fatal(err)
		}
		if err := journal.Close(); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != "{\"a\":1}\n{\"b\":2}\n{}\n" {
			t.Errorf("on disk: %q, %v", text, err)
		}
	})
}

func TestReadEntriesBoundsALine(t *testing.T) {
	long := bytes.Repeat([]byte("x"), maxLine+8192)
	if _, err := ReadEntries(bytes.NewReader(long), 0, nil); err == nil {
		t.Error("a line without an end was read into memory")
	}
}

func FuzzReadEntries(f *testing.F) {
	f.Add([]byte("{\"status\":{}}\n\n{}\n[1]\n{"))
	f.Add([]byte("\x00\n\"\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var last int64
		end, err := ReadEntries(bytes.NewReader(text), 0, func(entry Entry) error {
			if entry.Next <= last || entry.Next > int64(len(text)) || text[entry.Next-1] != '\n' {
				t.Fatalf("offset %d after %d of %d", entry.Next, last, len(text))
			}
			last = entry.Next
			return nil
		})
		if err == nil && (end < last || end > int64(len(text))) {
			t.Fatalf("ended at %d of %d", end, len(text))
		}
	})
}
