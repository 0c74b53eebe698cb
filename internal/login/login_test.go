package login

import (
	"encoding/xml"
	"errors"
	"flag"
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
		Environ: []string{"PATH=/opt/bin:/usr/bin", `RDD_LOG_DIR=/var/a b\c`},
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

// TestInstall puts the files in place, twice, and removes them, with commands that leave a trace instead of systemd's.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	spec := nasty()
	spec.ConfigHome = dir
	plan := plans(t, spec)["systemd"]
	trace := filepath.Join(dir, "trace")
	plan.Enable = [][]string{{"sh", "-c", "echo enabled >> " + trace}}
	plan.Disable = [][]string{{"sh", "-c", "echo disabled >> " + trace}}
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
		plan.Enable, plan.Start = nil, [][]string{{"sh", "-c", "echo " + name + " >> " + trace}}
		if Start(t.Context(), plan) {
			t.Errorf("%s starts what was not installed", name)
		}
		if err := Install(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		if !Start(t.Context(), plan) {
			t.Errorf("%s does not start what was installed", name)
		}
		other := plans(t, moved)[name]
		other.Start = plan.Start
		if Start(t.Context(), other) {
			t.Errorf("%s starts another program than this", name)
		}
		if said, err := os.ReadFile(trace); err != nil || string(said) != name+"\n" {
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
