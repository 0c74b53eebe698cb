package instance

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestNamesAreCheckedBeforeAPathIsBuilt(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"..", "a/b", `a\b`, "../../etc", "a..b", "-a", "a-", "A", "ä", "a b", ".", "con:", "a\x00b", strings.Repeat("a", MaxNameLength+1)} {
		if got, err := New(name, Env{Home: home}); err == nil {
			t.Errorf("New(%q) = %+v, want an error", name, got)
		}
	}
	for _, name := range []string{"", "2", "dev", "dev-3", "a.b_c", strings.Repeat("a", MaxNameLength)} {
		got, err := New(name, Env{Home: home})
		if err != nil {
			t.Errorf("New(%q): %v", name, err)
			continue
		}
		for _, path := range []string{got.Dir, got.LogDir, got.ShortDir, got.Kubeconfig(), got.VMDir("x")} {
			if !strings.HasPrefix(path, home+string(filepath.Separator)) || filepath.Clean(path) != path {
				t.Errorf("New(%q): path %q leaves the home directory", name, path)
			}
		}
	}
	if _, err := New("a", Env{Home: "relative"}); err == nil {
		t.Error("a relative home directory was accepted")
	}
}

func TestDefaultPort(t *testing.T) {
	for name, want := range map[string]int{"": 6445, "2": 6445, "dev": 6443, "dev-3": 6446, "ci12": 6455, "20240131": 6574, "0": 6443} {
		got, err := New(name, Env{Home: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if got.DefaultPort() != want {
			t.Errorf("DefaultPort of %q = %d, want %d", name, got.DefaultPort(), want)
		}
	}
}

func TestLogDirIsReplaced(t *testing.T) {
	logs := t.TempDir()
	got, err := New("dev", Env{Home: t.TempDir(), LogDir: logs})
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(got.StderrLog()) != logs {
		t.Errorf("StderrLog = %q, want it in %q", got.StderrLog(), logs)
	}
}

func TestMaxVMNameLength(t *testing.T) {
	root := string(filepath.Separator) + strings.Repeat("h", 19) // 20 bytes
	got := Instance{Name: "dev", ShortDir: root}
	longest := filepath.Join(got.VMDir(strings.Repeat("n", got.MaxVMNameLength())), longestSocket)
	if len(longest) != socketPathMax-1 {
		t.Errorf("the longest socket path has %d bytes, want %d", len(longest), socketPathMax-1)
	}
	for length, fits := range map[int]bool{20: true, 20 + got.MaxVMNameLength() - 1: true, 20 + got.MaxVMNameLength(): false, 300: false} {
		i := Instance{Name: "dev", ShortDir: root[:1] + strings.Repeat("h", length-1)}
		err := i.CheckSocketPaths()
		if (err == nil) != fits || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("may have %d characters, and has %d;", len(root)+got.MaxVMNameLength()-1, length)) {
			t.Errorf("a path of %d bytes, with %d left for names: %v", length, i.MaxVMNameLength(), err)
		}
	}
	got.ShortDir = string(filepath.Separator) + strings.Repeat("h", 200)
	if got.MaxVMNameLength() != 0 {
		t.Errorf("MaxVMNameLength = %d where nothing fits, want 0", got.MaxVMNameLength())
	}
}

func FuzzNew(f *testing.F) {
	for _, seed := range []string{"", "2", "dev", "..", "a/b", "\x00"} {
		f.Add(seed)
	}
	home := f.TempDir()
	f.Fuzz(func(t *testing.T, name string) {
		got, err := New(name, Env{Home: home})
		if err != nil {
			return
		}
		if filepath.Dir(got.ShortDir) != home || got.DefaultPort() < 1024 || got.DefaultPort() > 65535 {
			t.Errorf("New(%q) = %+v, port %d", name, got, got.DefaultPort())
		}
	})
}
