package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// logsOf makes the logs of a daemon whose standard error is a log file open for appending, as Launch has it.
func logsOf(t *testing.T, inst instance.Instance, keepAll bool) *Logs {
	t.Helper()
	stderr, err := os.OpenFile(inst.StderrLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	return NewLogs(inst, stderr, keepAll)
}

func contents(t *testing.T, files []string) (all []string) {
	t.Helper()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(content)))
	}
	return all
}

// TestFiveLogsOfThePastAreKept: each start begins a log, and removes those that are too many; nothing that is not a log of ours.
func TestFiveLogsOfThePastAreKept(t *testing.T) {
	for keepAll, want := range map[bool]string{
		false: "run 2|run 3|run 4|run 5|run 6|run 7",
		true:  "run 0|run 1|run 2|run 3|run 4|run 5|run 6|run 7",
	} {
		t.Run(fmt.Sprintf("all=%t", keepAll), func(t *testing.T) {
			inst := newInstance(t)
			if err := MakeDirs(inst); err != nil {
				t.Fatal(err)
			}
			theirs := filepath.Join(inst.LogDir, "rdd.stderr.of-somebody-else.log")
			if err := os.WriteFile(theirs, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { // for a clock that moves between two runs
				for run := range 8 {
					logs := logsOf(t, inst, keepAll)
					if err := logs.begin(); err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(logs, "run %d\n", run)
					time.Sleep(time.Second)
				}
			})
			files, err := LogFiles(inst)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(contents(t, files), "|"); got != want {
				t.Errorf("the logs hold %s, want %s", got, want)
			}
			if err := Remove(t.Context(), Config{Instance: inst, Executable: "rdd", Log: slog.New(slog.DiscardHandler)}); err != nil {
				t.Fatal(err)
			}
			left, err := os.ReadDir(inst.LogDir)
			if err != nil || len(left) != 1 || left[0].Name() != filepath.Base(theirs) {
				t.Errorf("after the instance was removed there are %v, %v; want what somebody else has made", left, err)
			}
		})
	}
}

// TestALogThatGrowsIsPutAway: nothing is lost of what is logged around the change.
func TestALogThatGrowsIsPutAway(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		logs := logsOf(t, inst, false)
		logs.max = 25
		for line := range 6 {
			fmt.Fprintf(logs, "line %d ...\n", line)
			time.Sleep(time.Second)
		}
	})
	files, err := LogFiles(inst)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(contents(t, files), "|"), "line 0 ...\nline 1 ...|line 2 ...\nline 3 ...|line 4 ...\nline 5 ..."; got != want {
		t.Errorf("the logs hold %q, want %q", got, want)
	}
}

// TestALogThatCannotBePutAwayGoesOn: a full disk, or a directory that became read-only.
func TestALogThatCannotBePutAwayGoesOn(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		logs := logsOf(t, inst, false)
		logs.max = 1
		if err := os.Mkdir(pastLog(inst.StderrLog(), time.Now()), 0o700); err != nil { // where the copy would go
			t.Fatal(err)
		}
		fmt.Fprintln(logs, "one")
		fmt.Fprintln(logs, "two")
	})
	if got := contents(t, []string{inst.StderrLog()}); got[0] != "one\ntwo" {
		t.Errorf("the log holds %q", got[0])
	}
}
