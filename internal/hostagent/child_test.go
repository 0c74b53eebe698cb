package hostagent

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lima-vm/lima/v2/pkg/limatype"
	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// TestMain is the program that the daemon and Lima start as os.Executable(), too.
func TestMain(m *testing.M) {
	for _, cmd := range Commands() {
		if len(os.Args) > 1 && os.Args[1] == cmd.Use {
			cmd.SetArgs(os.Args[2:])
			if cmd.Execute() != nil {
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// list is a teller that remembers.
type list struct {
	mu    sync.Mutex
	notes []control.Note
}

func (l *list) Note(note control.Note) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, note)
	return nil
}

func (l *list) progress() []vm.Progress {
	var all []vm.Progress
	for _, note := range l.notes {
		if note.Progress != nil {
			all = append(all, *note.Progress)
		}
	}
	return all
}

func TestReadBoot(t *testing.T) {
	whole, err := json.Marshal(control.Boot{Speaks: control.Spoken(), Instance: "one", Template: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if boot, err := readBoot(bytes.NewReader(whole), "one"); err != nil || string(boot.Template) != "x" {
		t.Errorf("%+v, %v", boot, err)
	}
	for _, torn := range [][]byte{nil, whole[:len(whole)-1]} {
		if _, err := readBoot(bytes.NewReader(torn), "one"); !errors.Is(err, errOrphaned) {
			t.Errorf("%q: %v", torn, err)
		}
	}
	if _, err := readBoot(bytes.NewReader(whole), "two"); err == nil {
		t.Error("another instance's boot was taken")
	}
	if _, err := readBoot(strings.NewReader(`{"protocol":99,"instance":"one"}`), "one"); err == nil {
		t.Error("another protocol was taken")
	}
}

// TestChildrenSayWhyTheyCannotServe: the binary was replaced while its daemon runs, and each kind of child tells the daemon
// what to do about it.
func TestChildrenSayWhyTheyCannotServe(t *testing.T) {
	boot, err := json.Marshal(control.Boot{Speaks: control.Versions{Oldest: 98, Newest: 99}, Instance: "one"})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"create", "apply", "delete", "run"} {
		told := childTold(t, verb, boot)
		var note control.Note
		if err := json.Unmarshal(told, &note); err != nil || !strings.Contains(note.Failure, "restart the daemon") {
			t.Errorf("%s: it tells %q", verb, told)
		}
	}
}

// childTold starts a child, tells it what to do, and returns what it has told when it has ended.
func childTold(t *testing.T, verb string, boot []byte) []byte {
	t.Helper()
	stdin, stdinWriter := pipeOf(t)
	notes, notesWriter := pipeOf(t)
	child, err := process.Start(process.Command{
		Path: os.Args[0], Args: []string{os.Args[0], "hostagent", verb, "one"},
		Env: append(os.Environ(), "LIMA_HOME="+t.TempDir()), Stdin: stdin, ExtraFiles: []*os.File{notesWriter},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdinWriter.Write(boot); err != nil {
		t.Error(err)
	}
	<-child.Done()
	_ = notesWriter.Close()
	told, err := io.ReadAll(notes)
	if err != nil {
		t.Fatal(err)
	}
	return told
}

func pipeOf(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = reader.Close(), writer.Close() })
	return reader, writer
}

func TestWorkersEndWithTheirParent(t *testing.T) {
	reader, writer := io.Pipe()
	ctx, cancel := whileParentLives(t.Context(), reader)
	defer cancel()
	if ctx.Err() != nil {
		t.Fatal("ended early")
	}
	_ = writer.Close()
	<-ctx.Done()
}

func TestDownloadsTellTheirProgress(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 3<<20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/images/known.img" {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		}
		_, _ = w.Write(content)
	}))
	defer server.Close()
	for path, want := range map[string]vm.Progress{
		"/images/known.img":   {Stage: "Downloading known.img", Percent: 100, Message: "3 of 3 MiB"},
		"/images/unknown.img": {Stage: "Downloading unknown.img", Percent: -1, Message: "3 MiB"},
	} {
		to := &list{}
		client := http.Client{Transport: &counting{next: server.Client().Transport, to: to}}
		response, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%s: %d bytes, %v", path, len(got), err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		told := to.progress()
		if len(told) == 0 {
			t.Fatalf("%s: told nothing", path)
		}
		last := told[len(told)-1]
		last.Message, _, _ = strings.Cut(last.Message, ",") // where it took long, the rate follows
		if last != want {
			t.Errorf("%s: told %+v", path, told)
		}
	}
}

func TestStagesAreReadFromLimasLog(t *testing.T) {
	to := &list{}
	hook := &stages{to: to}
	for _, message := range []string{
		"Waiting for the essential requirement 1 of 3: `ssh`",
		`Waiting for the final requirement 1 of 1: "boot scripts must have finished"`,
		"Waiting for the guest agent to be running",
		"The essential requirement 1 of 3 is satisfied",
	} {
		if err := hook.Fire(&logrus.Entry{Message: message}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range to.progress() {
		got = append(got, p.Stage)
	}
	if text := strings.Join(got, ", "); text != "Waiting for ssh, Waiting for the boot scripts, Waiting for the guest agent" {
		t.Errorf("stages: %s", text)
	}
}

func TestEmulate(t *testing.T) {
	inst := func(cpu string) *limatype.Instance {
		config := &limatype.LimaYAML{}
		if cpu != "" {
			config.VMOpts = limatype.VMOpts{limatype.QEMU: map[string]any{"cpuType": map[string]any{limatype.X8664: cpu}}}
		}
		return &limatype.Instance{VMType: limatype.QEMU, Arch: limatype.X8664, Config: config}
	}
	if !limatype.IsNativeArch(limatype.X8664) {
		t.Log("another architecture: nothing to emulate")
		return
	}
	const variable = "QEMU_SYSTEM_X86_64"
	for _, test := range []struct {
		name, before string
		inst         *limatype.Instance
		want         string
	}{
		{"default CPU", "", inst(""), "qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512 -cpu max"},
		{"the template's CPU", "", inst("qemu64"), "qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512"},
		{"the user's choice", "my-qemu", inst(""), "my-qemu"},
		{"another architecture", "", &limatype.Instance{VMType: limatype.QEMU, Arch: limatype.RISCV64}, ""},
		{"another driver", "", &limatype.Instance{VMType: limatype.WSL2, Arch: limatype.X8664}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(variable, test.before)
			if err := emulate(test.inst); err != nil {
				t.Fatal(err)
			}
			if got := os.Getenv(variable); got != test.want {
				t.Errorf("%s=%q", variable, got)
			}
		})
	}
}

func TestMissingToolsAreNamed(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	t.Setenv("SSH", "")
	inst := &limatype.Instance{VMType: limatype.QEMU, Arch: limatype.X8664}
	for _, test := range []struct{ program, pkg string }{
		{"ssh", "openssh-client"}, {"qemu-system-x86_64", "qemu-system-x86"}, {"qemu-img", "qemu-utils"},
	} {
		err := checkTools(inst)
		if err == nil || !strings.Contains(err.Error(), test.pkg) {
			t.Errorf("without %s: %v", test.program, err)
		}
		if err := os.WriteFile(filepath.Join(bin, test.program), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkTools(inst); err != nil {
		t.Errorf("with all of them: %v", err)
	}
}

// TestUsernetTakesLimasFlags passes what Lima's own code passes when it re-executes the binary.
func TestUsernetTakesLimasFlags(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "usernet.pid")
	if err := os.WriteFile(taken, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := usernetCommand()
	cmd.SetArgs([]string{
		"-p", taken, "-e", "/x/ep.sock", "--listen-qemu", "/x/qemu.sock", "--listen", "/x/fd.sock",
		"--subnet", "192.168.104.0/24", "--leases", "192.168.104.1=52:55:55:b3:bc:d9,192.168.104.2=5a:94:ef:e4:0c:df",
	})
	cmd.SilenceErrors = true
	if err := cmd.Execute(); !errors.Is(err, os.ErrExist) {
		t.Errorf("with a PID file in the way: %v", err)
	}
}

func TestCommandsAreHidden(t *testing.T) {
	var names []string
	for _, cmd := range Commands() {
		if !cmd.Hidden {
			t.Errorf("%s is shown", cmd.Name())
		}
		names = append(names, cmd.Name())
	}
	if text := strings.Join(names, " "); text != "hostagent usernet" {
		t.Errorf("commands: %s", text)
	}
}
