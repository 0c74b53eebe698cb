package repo

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLintRulesFire lints a small module of the same name that breaks each of our own rules once: a rule that is misspelled
// in .golangci.yml would pass everything, silently.
func TestLintRulesFire(t *testing.T) {
	const ours = "github.com/seed-192657fa/rdd"
	imports := func(path string) string { return "import _ \"" + path + "\"\n" }
	broken := map[string]struct{ body, want string }{
		"api/v1/a.go":                     {imports(ours + "/process"), "depguard: api is what clients import"},
		"internal/cli/a.go":               {imports(ours + "/internal/controllers/limavm"), "depguard: the command line speaks to the API"},
		"internal/cli/b.go":               {imports(ours + "/internal/hostagent"), "depguard: needs cgo on a Mac"},
		"internal/cli/c.go":               {imports(ours + "/internal/vm/lima"), "depguard: the command line speaks to the API"},
		"internal/controllers/x/a.go":     {imports(ours + "/internal/vm/lima"), "depguard: controllers know"},
		"internal/controlplane/a.go":      {imports(ours + "/internal/vm/lima"), "depguard: the control plane is given"},
		"internal/vm/vmfake/a.go":         {imports(ours + "/internal/cli"), "depguard: the driver contract"},
		"internal/hostagent/control/a.go": {imports("github.com/lima-vm/lima/v2"), "depguard: the daemon imports this"},
		"internal/x/lima.go":              {imports("github.com/lima-vm/lima/v2"), "depguard: Lima stays at the edge"},
		"internal/x/apiserver.go":         {imports("k8s.io/apiserver"), "depguard: only internal/controlplane embeds"},
		"internal/x/kubernetes.go":        {imports("k8s.io/kubernetes"), "depguard: only internal/controlplane embeds"},
		"internal/x/kine.go":              {imports("github.com/k3s-io/kine"), "depguard: only internal/controlplane knows the store"},
		"internal/x/etcd.go":              {imports("go.etcd.io/etcd/server/v3"), "depguard: only internal/controlplane knows the store"},
		"process/a.go":                    {imports(ours + "/internal/vm"), "depguard: process is a library"},
		"internal/x/goos.go":              {"import \"runtime\"\n\nconst a1 = runtime.GOOS\n", "forbidigo: platform code"},
		"internal/x/exit.go":              {"import \"os\"\n\nfunc a2() { os.Exit(1) }\n", "forbidigo: only main"},
		"internal/x/env.go":               {"import \"os\"\n\nvar _ = os.Getenv(\"HOME\")\n", "forbidigo: only internal/cli reads"},
		"internal/x/sleep.go":             {"import \"time\"\n\nfunc a3() { time.Sleep(1) }\n", "forbidigo: who wakes it"},
		"internal/x/kill.go":              {"import \"os/exec\"\n\nfunc a4(c *exec.Cmd) error { return c.Process.Kill() }\n", "forbidigo: only package process signals"},
		"internal/x/signal.go":            {"import \"os\"\n\nfunc a5(p *os.Process) error { return p.Signal(os.Interrupt) }\n", "forbidigo: only package process signals"},
		"internal/x/find.go":              {"import \"os\"\n\nvar _, _ = os.FindProcess(1)\n", "forbidigo: only package process signals"},
		"internal/x/syscall_linux.go":     {"import sys \"syscall\"\n\nvar _ = sys.Kill(1, sys.SIGTERM)\n", "forbidigo: only package process signals"},
		"internal/x/init.go":              {"func init() {}\n", "gochecknoinits: don't use"},
		"internal/x/global.go":            {"var state = map[string]int{}\n", "gochecknoglobals: state is a global"},
		"internal/x/later.go":             {"// TODO later\n", "godox: "},
		"internal/x/long.go":              {"func long() {\n" + strings.Repeat("\t_ = 1\n", 81) + "}\n", "funlen: "},
	}
	files := map[string]string{
		".golangci.yml":                    read(t, ".golangci.yml"),
		"go.mod":                           "module " + ours + "\n\ngo 1.26.5\n",
		"internal/controllers/limavm/a.go": "package limavm\n",
		"internal/hostagent/a.go":          "package hostagent\n",
		"internal/vm/a.go":                 "package vm\n",
		"internal/vm/lima/a.go":            "package lima\n\n" + imports("github.com/lima-vm/lima/v2"),
		"internal/template/a.go":           "package template\n\n" + imports("github.com/lima-vm/lima/v2"),
		"internal/controlplane/b.go":       "package controlplane\n\n" + imports("k8s.io/apiserver") + imports("github.com/k3s-io/kine"),
		"internal/controllers/x/b.go":      "package x\n\n" + imports(ours+"/internal/vm"),
		"internal/cli/d.go":                "package cli\n\nimport \"os\"\n\nvar _ = os.Getenv(\"HOME\")\n",
		"process/b.go":                     "package process\n\nimport \"syscall\"\n\nvar _ = syscall.Kill(1, syscall.SIGTERM)\n",
	}
	for _, module := range []string{"github.com/lima-vm/lima/v2", "k8s.io/apiserver", "k8s.io/kubernetes", "github.com/k3s-io/kine", "go.etcd.io/etcd/server/v3"} {
		version := "v0.0.0"
		if strings.HasSuffix(module, "/v2") || strings.HasSuffix(module, "/v3") {
			version = module[strings.LastIndex(module, "/")+1:] + ".0.0"
		}
		dir := "elsewhere/" + module
		files["go.mod"] += "\nrequire " + module + " " + version + "\nreplace " + module + " => ./" + dir + "\n"
		files[dir+"/go.mod"] = "module " + module + "\n"
		files[dir+"/a.go"] = "package a\n"
	}
	for name, file := range broken {
		files[name] = "package " + filepath.Base(filepath.Dir(name)) + "\n\n" + file.body
	}
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	found := lint(t, dir)
	for name, file := range broken {
		if !strings.Contains(strings.Join(found[name], "\n"), file.want) {
			t.Errorf("%s: %q was not reported, only %q", name, file.want, found[name])
		}
		delete(found, name)
	}
	for name, issues := range found {
		for _, issue := range issues {
			if strings.HasPrefix(issue, "depguard") || strings.HasPrefix(issue, "forbidigo") {
				t.Errorf("%s breaks no rule, and was reported: %s", name, issue)
			}
		}
	}
}

// lint runs the project's linter with the project's rules in dir and returns what it says about each file.
func lint(t *testing.T, dir string) map[string][]string {
	t.Helper()
	tool := strings.TrimSpace(run(t, "env", "CGO_ENABLED=0", "go", "tool", "-modfile=tools/go.mod", "-n", "golangci-lint"))
	cmd := exec.CommandContext(t.Context(), tool, "run", "--allow-parallel-runners", "--show-stats=false", "--path-mode=abs",
		"--output.json.path=stdout", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOLANGCI_LINT_CACHE="+t.TempDir())
	out, err := cmd.Output()
	var report struct {
		Issues []struct {
			FromLinter, Text string
			Pos              struct{ Filename string }
		}
	}
	if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
		t.Fatalf("golangci-lint printed no JSON: %v, %v\n%s", jsonErr, err, out)
	}
	found := map[string][]string{}
	for _, issue := range report.Issues {
		name, err := filepath.Rel(dir, issue.Pos.Filename)
		if err != nil {
			t.Fatal(err)
		}
		// depguard names the import and the list before our words, forbidigo the identifier.
		_, words, cut := strings.Cut(strings.NewReplacer(": ", "\x00", " because \"", "\x00").Replace(issue.Text), "\x00")
		if !cut {
			words = issue.Text
		}
		found[name] = append(found[name], issue.FromLinter+": "+words)
	}
	return found
}
