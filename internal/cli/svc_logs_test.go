package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/internal/instance"
)

func TestLastLines(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for _, c := range []struct {
		text  string
		lines int
		want  string
	}{
		{"a\nb\nc\n", -1, "a\nb\nc\n"}, {"a\nb\nc\n", 0, ""}, {"a\nb\nc\n", 1, "c\n"}, {"a\nb\nc\n", 3, "a\nb\nc\n"}, {"a\nb\nc\n", 9, "a\nb\nc\n"},
		{"a\nb", 1, "b"}, {"a\n\n", 1, "\n"}, {"a\n\n", 2, "a\n\n"}, {"", 1, ""}, {"\n", 1, "\n"},
		{"a\n" + long + "\n" + long + "\n", 2, long + "\n" + long + "\n"},
	} {
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		if _, err := file.WriteString(c.text); err != nil {
			t.Fatal(err)
		}
		if from, err := lastLines(file, c.lines); err != nil || c.text[from:] != c.want {
			t.Errorf("the last %d lines of %.20q: %.20q, %v", c.lines, c.text, c.text[from:], err)
		}
	}
}

func TestSvcLogs(t *testing.T) {
	home := t.TempDir()
	inst, err := instance.New("", instance.Env{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(inst.LogDir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(inst.LogDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rdd.stderr.log", "one\ntwo\nthree\n")
	if _, stderr, code := rdd(t, home, nil, "svc", "logs", "--previous"); code != exitNotFound || !strings.Contains(stderr, "no log of the past is kept") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	write("rdd.stderr.20260101T000000.000.log", "older\n")
	write("rdd.stderr.20260102T000000.000.log", "begin\nold\n")
	for args, want := range map[string]string{
		"svc logs": "one\ntwo\nthree\n", "svc logs --tail 1": "three\n", "svc logs --tail=0": "", "svc logs --previous": "begin\nold\n",
		"svc logs -p --tail=1": "old\n",
	} {
		if stdout, stderr, code := rdd(t, home, nil, strings.Fields(args)...); code != 0 || stdout != want {
			t.Errorf("%s: exit code %d, %q, %s", args, code, stdout, stderr)
		}
	}
	if _, stderr, code := rdd(t, home, nil, "svc", "logs", "-p", "-f"); code != exitUsage {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	shown, ended := newOutput(), make(chan int)
	p := &plane{T: t, home: home}
	go func() { ended <- p.runIn(ctx, "", shown, shown, "svc", "logs", "-f", "--tail=1") }()
	shown.await(t, `^three\n$`)
	log, err := os.OpenFile(inst.StderrLog(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = log.WriteString("four\n")
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
	shown.await(t, `^three\nfour\n$`)
	if err := os.Rename(inst.StderrLog(), filepath.Join(inst.LogDir, "rdd.stderr.20260103T000000.000.log")); err != nil {
		t.Fatal(err)
	}
	write("rdd.stderr.log", "five\n") // of the next daemon
	shown.await(t, `^three\nfour\nfive\n$`)
	interrupt()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d: who follows ends it so", code)
	}
}
