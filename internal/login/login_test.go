package login

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// nasty has what means something in each of the languages.
func nasty() Spec {
	return Spec{
		Instance: "dev-3", Executable: "/opt/100% mine & <yours>/$rdd", Home: "/home/ada", ConfigHome: "/home/ada/.config",
		Stdout: "/home/ada/100% logs/rdd.stdout.log", Stderr: "/home/ada/100% logs/rdd.stderr.log",
		Environ: []string{"PATH=/opt/bin:/usr/bin", `RDD_LOG_DIR=/var/a b\c`}, ExitRunning: 42,
	}
}

func plans(t *testing.T, spec Spec) map[string]Plan {
	t.Helper()
	systemd, err1 := Systemd(spec)
	launchd, err2 := Launchd(spec, 501)
	task, err3 := Task(spec, `HOST\ada & co`, "/data")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return map[string]Plan{"systemd": systemd, "launchd": launchd, "task": task}
}

func TestPlans(t *testing.T) {
	for name, plan := range plans(t, nasty()) {
		for i := range plan.Files {
			plan.Files[i].Path = filepath.ToSlash(plan.Files[i].Path)
		}
		path, got := filepath.Join("testdata", name+".golden"), Describe(plan)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from %s (go test -update writes it anew):\n%s", name, path, got)
		}
		if name == "systemd" {
			continue
		}
		decoder := xml.NewDecoder(strings.NewReader(strings.Replace(plan.Files[0].Content, "UTF-16", "UTF-8", 1)))
		for _, err = decoder.Token(); err == nil; _, err = decoder.Token() {
			continue
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s is no XML: %v", name, err)
		}
	}
}

func TestAProgramThatSystemdDoesNotTake(t *testing.T) {
	spec := nasty()
	spec.Executable = `/opt/"rdd"`
	if _, err := Systemd(spec); err == nil || !strings.Contains(err.Error(), "move /opt/") {
		t.Errorf("Systemd: %v", err)
	}
}

func TestVariablesOfATask(t *testing.T) {
	for variable, want := range map[string]string{
		"PATH=/bin":                "",
		"RDD_LOG_DIR=C:\\my logs":  `/d /s /c "set "RDD_LOG_DIR=C:\my logs"& "/opt/rdd" --instance=dev-3 svc start"`,
		`RDD_KEEP_LOGS="yes"`:      "no variable with quotes",
		"RDD_LOG_DIR=C:\\%mine%\\": "no more than one %",
	} {
		spec := nasty()
		spec.Executable, spec.Environ = "/opt/rdd", []string{variable}
		command, arguments, err := action(spec)
		if want == "" && (err != nil || command != spec.Executable || arguments != "--instance=dev-3 svc start") {
			t.Errorf("%s: %s %s, %v", variable, command, arguments, err)
		}
		if got := fmt.Sprint(arguments, err); !strings.Contains(got, want) {
			t.Errorf("%s: %s %s", variable, command, got)
		}
	}
}

// says is commands that leave a trace.
func says(word, trace string) [][]string {
	return [][]string{{"sh", "-c", "echo " + word + " >> '" + filepath.ToSlash(trace) + "'"}}
}

// TestInstall puts the files in place, twice, and removes them, with commands that leave a trace instead of systemd's.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	spec := nasty()
	spec.ConfigHome = dir
	plan := plans(t, spec)["systemd"]
	trace := filepath.Join(dir, "trace")
	plan.Enable, plan.Disable = says("enabled", trace), says("disabled", trace)
	for range 2 {
		if err := Install(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		for _, file := range plan.Files {
			if content, err := os.ReadFile(file.Path); err != nil || string(content) != string(encode(file.Content)) {
				t.Errorf("%s: %v", file.Path, err)
			}
		}
	}
	for _, want := range []bool{true, false} {
		if was, err := Uninstall(t.Context(), plan); was != want || err != nil {
			t.Errorf("Uninstall: %t, %v; want %t", was, err, want)
		}
	}
	if said, err := os.ReadFile(trace); err != nil || string(said) != "enabled\nenabled\ndisabled\n" {
		t.Errorf("commands: %q, %v", said, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "systemd", "user", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestStart(t *testing.T) {
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	spec := nasty()
	spec.ConfigHome, spec.Home = dir, dir
	moved := spec
	moved.Executable = "/opt/rdd"
	for name, plan := range plans(t, spec) {
		if name == "task" {
			if Start(t.Context(), plan) {
				t.Error("a task is started, which does no more than is done without")
			}
			continue
		}
		plan.Unload, plan.Enable, plan.Start, plan.Halt = nil, nil, says(name, trace), says("halted", trace)
		if err := Halt(t.Context(), plan); err != nil || Start(t.Context(), plan) {
			t.Errorf("%s starts or halts what was not installed: %v", name, err)
		}
		if err := Install(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		if !Start(t.Context(), plan) {
			t.Errorf("%s does not start what was installed", name)
		}
		other := plans(t, moved)[name]
		other.Start, other.Halt = plan.Start, plan.Halt
		if err := Halt(t.Context(), other); err != nil || Start(t.Context(), other) {
			t.Errorf("%s starts or halts another program than this: %v", name, err)
		}
		if err := Halt(t.Context(), plan); err != nil {
			t.Errorf("%s does not halt what was installed: %v", name, err)
		}
		if said, err := os.ReadFile(trace); err != nil || string(said) != name+"\nhalted\n" {
			t.Errorf("%s: commands: %q, %v", name, said, err)
		}
		if err := os.Remove(trace); err != nil {
			t.Error(err)
		}
		plan.Start = [][]string{{"false"}}
		if Start(t.Context(), plan) {
			t.Errorf("%s: a system that does not answer starts something", name)
		}
	}
}

func TestASystemThatDoesNotAnswer(t *testing.T) {
	spec := nasty()
	spec.ConfigHome = t.TempDir()
	plan := plans(t, spec)["systemd"]
	plan.Enable, plan.Disable = [][]string{{"false"}}, [][]string{{"false"}}
	if err := Install(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "not in use: false") {
		t.Errorf("Install: %v", err)
	}
	if was, err := Uninstall(t.Context(), plan); !was || err == nil {
		t.Errorf("Uninstall: %t, %v", was, err)
	}
	if _, err := os.Stat(plan.Files[0].Path); !os.IsNotExist(err) {
		t.Errorf("the unit is still there: %v", err)
	}
}
