package assets

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func pack(t *testing.T, content string) *bytes.Reader { return bytes.NewReader(packed(t, content)) }

func packed(t *testing.T, content string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := gzip.NewWriter(&buffer)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func TestUnpackOnceByContent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agents")
	first, err := unpack(dir, "agent", pack(t, "one"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode().Perm() != 0o755 {
		t.Errorf("mode %v", before.Mode())
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if again, err := unpack(dir, "agent", pack(t, "one")); err != nil || again != first {
				t.Errorf("again: %s, %v", again, err)
			}
		})
	}
	wg.Wait()
	after, err := os.Stat(first)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was unpacked twice: %v", err)
	}
	second, err := unpack(dir, "agent", pack(t, "two"))
	if err != nil || second == first {
		t.Errorf("another content is at %s, %v", second, err)
	}
	if text, err := os.ReadFile(second); err != nil || string(text) != "two" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestUnpackReplacesATornFile(t *testing.T) {
	dir := t.TempDir()
	path, err := unpack(dir, "agent", pack(t, "whole"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(dir, "agent", pack(t, "whole")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "whole" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestUnpackFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	damaged := packed(t, strings.Repeat("x", 1<<16))
	damaged[len(damaged)/2] ^= 0xff
	if _, err := unpack(dir, "agent", bytes.NewReader(damaged)); err == nil {
		t.Fatal("a damaged archive was unpacked")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := unpack(dir, "agent", strings.NewReader("short")); err == nil {
		t.Error("five bytes were unpacked")
	}
}

func TestGuestAgentThatIsNotEmbedded(t *testing.T) {
	if _, err := GuestAgent(t.TempDir(), "Plan9", "vax"); !errors.Is(err, ErrNotEmbedded) {
		t.Errorf("%v", err)
	}
}
