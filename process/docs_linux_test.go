package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWhatThePageShows: each piece of Go in docs/process.md is a part of an example, which runs as a test; or it is a program,
// which is run here, and prints what the page says next.
func TestWhatThePageShows(t *testing.T) {
	page, err := os.ReadFile("../docs/process.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_unix_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?").FindAllStringSubmatch(string(page), -1)
	programs := 0
	for _, block := range blocks {
		code, output := block[1], block[2]
		if !strings.HasPrefix(code, "package main\n") {
			if !strings.Contains(unindented(string(examples)), unindented(code)) {
				t.Errorf("this is in no example:\n%s", code)
			}
			continue
		}
		programs++
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		printed, err := exec.CommandContext(deadline(t), "go", "run", file).CombinedOutput()
		if err != nil || string(printed) != output {
			t.Errorf("%v: it prints\n%sand the page says\n%s", err, printed, output)
		}
	}
	if len(blocks) < 4 || programs != 1 {
		t.Errorf("%d pieces of Go, %d programs", len(blocks), programs)
	}
}

func unindented(code string) string {
	return regexp.MustCompile(`(?m)^\s+`).ReplaceAllString(code, "")
}
