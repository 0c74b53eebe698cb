// Package docs owns the promise that what the documents tell users to type does what they say: it types it.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// session is a user with an empty home directory, and rdd in the PATH. What would be downloaded is replaced: every built-in
// template is the guest that test/guest builds.
type session struct {
	t       *testing.T
	environ []string
}

const shim = `#!/bin/sh
for arg do
	shift
	case $arg in template:*) arg=$GUEST_TEMPLATE ;; esac
	set -- "$@" "$arg"
done
exec "$RDD_BINARY" "$@"
`

func newSession(t *testing.T) *session {
	binary := os.Getenv("RDD_BIN") // made by make test
	if binary == "" {
		binary, _ = filepath.Abs("../../bin/rdd")
		if out, err := exec.CommandContext(t.Context(), "../../scripts/build").CombinedOutput(); err != nil {
			t.Fatalf("cannot build rdd: %v\n%s", err, out)
		}
	}
	guest, err := exec.CommandContext(t.Context(), "../guest/build").Output()
	if err != nil {
		t.Fatalf("cannot build the guest: %v", err)
	}
	home, err := os.MkdirTemp("/tmp", "rdd") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	bin := filepath.Join(home, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "rdd"), []byte(shim), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, environ: []string{
		"HOME=" + home, "PATH=" + bin + ":" + os.Getenv("PATH"), "RDD_BINARY=" + binary,
		"GUEST_TEMPLATE=" + filepath.Join(strings.TrimSpace(string(guest)), "guest.yaml"),
	}}
	t.Cleanup(func() {
		if out, err := s.command("rdd svc delete").CombinedOutput(); err != nil {
			t.Errorf("cannot clean up: %v\n%s", err, out)
		}
	})
	return s
}

func (s *session) command(script string) *exec.Cmd {
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script) // without the test's context: it cleans up, too
	cmd.Env = s.environ
	cmd.Dir = strings.TrimPrefix(s.environ[0], "HOME=")
	return cmd
}

// run types a script and returns what it printed.
func (s *session) run(script string) string {
	s.t.Helper()
	out, err := s.command(script).CombinedOutput()
	s.t.Logf("%s\n%s", script, out)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.TrimSpace(script), err, out)
	}
	return string(out)
}

// blocks returns the code blocks of a document in a language, in their order.
func blocks(t *testing.T, document, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", document))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		found = append(found, match[1])
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s block", document, language)
	}
	return found
}

func TestGettingStarted(t *testing.T) {
	const document = "docs/getting-started.md"
	s := newSession(t)
	var said strings.Builder
	for _, block := range blocks(t, document, "sh") {
		said.WriteString(s.run(block))
	}
	for _, want := range []string{
		`VM "dev" is running`, "Linux lima-dev", "limavm.lima.rancherdesktop.io/dev condition met", "stopGracePeriodSeconds",
		`VM "dev" has stopped`, `VM "dev" is deleted`, "has stopped",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("following %s did not print %q", document, want)
		}
	}

	// Its VM would download an image: the server only says that it would take it.
	configMap, vm, both := strings.Cut(blocks(t, document, "yaml")[0], "---\n")
	if !both {
		t.Fatalf("%s does not declare a ConfigMap and a LimaVM", document)
	}
	s.run("rdd ctl apply -f - <<'END'\n" + configMap + "END")
	s.run("rdd ctl apply --dry-run=server -f - <<'END'\n" + vm + "END")
}

func TestExampleOfTheAPI(t *testing.T) {
	s := newSession(t)
	s.run(`rdd ctl create configmap dev --from-file=template=<(cat "$GUEST_TEMPLATE"; printf 'param: {FLAVOR: large}\nprovision: [{mode: user, script: "echo {{.Param.FLAVOR}}"}]\n')`)
	for _, block := range blocks(t, "docs/api.md", "yaml") {
		s.run("rdd ctl apply --dry-run=server --validate=strict -f - <<'END'\n" + block + "END")
	}
}
