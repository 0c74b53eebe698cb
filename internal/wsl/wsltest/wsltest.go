// Package wsltest owns a scripted wsl.exe for tests: a real program, which is the test binary under another name, with
// distributions that are files, and with the habits of the real one: UTF-16 without a mark, headings in the user's language,
// calls that fail, hang or say nonsense.
package wsltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/seed-192657fa/rdd/process"
)

// Behaviours that a verb can be given with Script.
const (
	Hang    = "hang"    // never ends, nor does what it has started
	Fail    = "fail"    // says why, and fails
	Silent  = "silent"  // says nothing, and fails
	Garbage = "garbage" // succeeds with an answer that is no list
	UTF8    = "utf8"    // answers as if the user had set WSL_UTF8
	Old     = "old"     // answers as versions do that tell no error codes
)

// Fake is a scripted wsl.exe in a directory of its own.
type Fake struct {
	t   testing.TB
	dir string
}

// Play is called first in TestMain. Where the test binary was started as wsl.exe, it plays that and returns the exit code.
func Play() (code int, played bool) {
	if filepath.Base(os.Args[0]) != "wsl.exe" {
		return 0, false
	}
	return play(filepath.Dir(os.Args[0]), os.Args[1:]), true
}

// New makes a wsl.exe without any distribution.
func New(t testing.TB) *Fake {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &Fake{t: t, dir: t.TempDir()}
	if err := os.Symlink(executable, filepath.Join(f.dir, "wsl.exe")); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"distributions", "disks", "script"} {
		if err := os.Mkdir(filepath.Join(f.dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// Dir is where the program is, to be put into PATH.
func (f *Fake) Dir() string { return f.dir }

// Register makes a distribution that runs.
func (f *Fake) Register(name string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, "distributions", name), []byte("Running"), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// SetDisk tells where the disk of a distribution is: like the real one, the program deletes what is there with the distribution.
func (f *Fake) SetDisk(name, path string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, "disks", name), []byte(path), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// State is that of a distribution: "Running", "Stopped", or empty when there is none.
func (f *Fake) State(name string) string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "distributions", name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	return string(text)
}

// Script gives verb ("--list") a behaviour; an empty one is that of a healthy WSL.
func (f *Fake) Script(verb, behaviour string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, "script", verb), []byte(behaviour), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// Calls are the verbs of all calls so far, with their distributions, in order.
func (f *Fake) Calls() []string {
	f.t.Helper()
	return f.lines("calls")
}

// Living are the processes that hang now.
func (f *Fake) Living() []process.Identity {
	f.t.Helper()
	var all []process.Identity
	for _, line := range f.lines("hanging") {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err != nil {
			f.t.Fatal(err)
		}
		if info, err := process.Describe(pid); err == nil && strings.HasPrefix(info.Name, "wsl.exe") {
			all = append(all, info.Identity)
		}
	}
	return all
}

func (f *Fake) lines(file string) []string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// play is the program.
func play(dir string, args []string) int {
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	name := ""
	if len(args) > 1 && verb != "--list" {
		name = ":" + args[1]
	}
	note(dir, "calls", verb+name)
	text, _ := os.ReadFile(filepath.Join(dir, "script", verb))
	switch behaviour := string(text); behaviour {
	case Hang:
		hang(dir, verb)
	case Fail:
		return say(encode("Katastrophaler Fehler\r\nFehlercode: Wsl/Service/E_UNEXPECTED\r\n"), 1)
	case Silent:
		return 1
	case Garbage:
		return say([]byte{0xff, 0xfe, 0x00, 0xd8, 0x0a, 0x00, 0x00, 0x00, 0x41}, 0)
	case UTF8, Old:
		return answer(dir, args, behaviour)
	}
	return answer(dir, args, "")
}

// hang starts one that hangs too, and hangs.
func hang(dir, verb string) {
	note(dir, "hanging", fmt.Sprint(os.Getpid()))
	if verb != "child" {
		_, _ = process.Start(process.Command{Path: os.Args[0], Args: []string{os.Args[0], "child"}})
	}
	for {
		<-time.After(time.Hour)
	}
}

func answer(dir string, args []string, behaviour string) int {
	write := encode
	if behaviour == UTF8 {
		write = func(text string) []byte { return []byte(text) }
	}
	switch {
	case len(args) == 1 && args[0] == "child":
		hang(dir, args[0])
	case len(args) == 3 && args[0] == "--list":
		return list(dir, behaviour, write)
	case len(args) == 2 && (args[0] == "--terminate" || args[0] == "--unregister"):
		file := filepath.Join(dir, "distributions", args[1])
		if _, err := os.Stat(file); err != nil {
			return say(write("Es ist keine Distribution mit dem angegebenen Namen vorhanden.\r\nFehlercode: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\r\n"), 1)
		}
		var err error
		if args[0] == "--terminate" {
			err = os.WriteFile(file, []byte("Stopped"), 0o600)
		} else {
			err = errors.Join(os.Remove(file), removeDisk(filepath.Join(dir, "disks", args[1])))
		}
		if err != nil {
			return say(write(err.Error()), 1)
		}
		return say(write("Der Vorgang wurde erfolgreich beendet.\r\n"), 0)
	}
	return say(write("Ungültiges Befehlszeilenargument: "+strings.Join(args, " ")+"\r\n"), 1)
}

// removeDisk removes the disk that the file names, if there is one.
func removeDisk(file string) error {
	path, err := os.ReadFile(file)
	if err == nil {
		err = os.Remove(string(path))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func list(dir, behaviour string, write func(string) []byte) int {
	entries, err := os.ReadDir(filepath.Join(dir, "distributions"))
	if err != nil {
		return say(write(err.Error()), 1)
	}
	var text strings.Builder
	for _, entry := range entries {
		text.WriteString(entry.Name() + "\r\n")
	}
	switch {
	case text.Len() > 0:
		return say(write(text.String()), 0)
	case behaviour == Old:
		return say(write("Windows Subsystem for Linux has no installed distributions.\r\n"), 1)
	}
	return say(write("Das Windows-Subsystem für Linux hat keine installierten Distributionen.\r\nFehlercode: Wsl/WSL_E_DEFAULT_DISTRO_NOT_FOUND\r\n"), 1)
}

func encode(text string) []byte {
	var raw []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		raw = binary.LittleEndian.AppendUint16(raw, unit)
	}
	return raw
}

func say(raw []byte, code int) int {
	if _, err := os.Stdout.Write(raw); err != nil {
		return 1
	}
	return code
}

func note(dir, file, line string) {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(line + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err) // the test would believe that it was never called
	}
}
