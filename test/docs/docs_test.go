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
	t.Parallel()                   // a session is mostly waited for
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
	cmd.Dir = s.home()
	return cmd
}

func (s *session) home() string { return strings.TrimPrefix(s.environ[0], "HOME=") }

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

// block is a code block of a document.
type block struct {
	language, text string
	// file is the name that the document gives to the block's content: <!-- file: NAME -->.
	file string
	// notRun is why it cannot be run in a test: <!-- not run: REASON -->.
	notRun string
}

// blocks returns the code blocks of a document, in their order.
func blocks(t *testing.T, document string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", document))
	if err != nil {
		t.Fatal(err)
	}
	var found []block
	fence := regexp.MustCompile("(?ms)(?:^<!-- (file|not run): ([^\n]*) -->\n)?^```(\\w*)\n(.*?)^```$")
	for _, match := range fence.FindAllStringSubmatch(string(text), -1) {
		b := block{language: match[3], text: match[4]}
		switch match[1] {
		case "file":
			b.file = match[2]
		case "not run":
			b.notRun = match[2]
		}
		found = append(found, b)
	}
	if len(found) == 0 {
		t.Fatalf("%s has no code block", document)
	}
	return found
}

// follow does what a document says, block by block, and returns what was printed. Files that it shows are written; what they
// declare is checked by the server, and a template by Lima.
func (s *session) follow(document string) string {
	s.t.Helper()
	var said strings.Builder
	for _, b := range blocks(s.t, document) {
		switch {
		case b.notRun != "":
			continue
		case b.language == "sh":
			said.WriteString(s.run(b.text))
		case b.language == "yaml" && strings.Contains(b.text, "\nkind: "):
			s.declare(b.text)
		case b.language == "yaml" && b.file != "":
			s.run("rdd limavm create checked --dry-run - <<'END'\n" + b.text + "END")
		default:
			s.t.Errorf("%s: nothing is known to do with a block of %q that is no file: mark it <!-- not run: REASON -->\n%s", document, b.language, b.text)
		}
		if b.file != "" {
			if err := os.WriteFile(filepath.Join(s.home(), b.file), []byte(b.text), 0o600); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return said.String()
}

// declare has the server check what a document declares. Its VMs would download images: the server only says that it would
// take them. That takes their templates, which are therefore there for a while.
func (s *session) declare(manifest string) {
	s.t.Helper()
	configMap, vm, both := strings.Cut(manifest, "---\n")
	if !both {
		s.run("rdd ctl apply --dry-run=server --validate=strict -f - <<'END'\n" + manifest + "END")
		return
	}
	s.run("rdd ctl apply --validate=strict -f - <<'END'\n" + configMap + "END")
	s.run("rdd ctl apply --dry-run=server --validate=strict -f - <<'END'\n" + vm + "END")
	s.run("rdd ctl delete -f - <<'END'\n" + configMap + "END")
}

// says checks what following a document has printed.
func says(t *testing.T, document, said string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(said, want) {
			t.Errorf("following %s did not print %q", document, want)
		}
	}
}

func TestGettingStarted(t *testing.T) {
	const document = "docs/getting-started.md"
	says(t, document, newSession(t).follow(document),
		`VM "dev" is running`, "Linux lima-dev", "limavm.lima.rancherdesktop.io/dev condition met", "stopGracePeriodSeconds",
		`VM "dev" has stopped`, `VM "dev" is deleted`, "has stopped",
	)
}

func TestInstalling(t *testing.T) {
	const document = "docs/installing.md"
	says(t, document, newSession(t).follow(document), "rdd 0.", "QEMU", "is ready", `Instance "2" is deleted`)
}

// TestPagesAboutAVM follows the pages whose reader has a VM called dev.
func TestPagesAboutAVM(t *testing.T) {
	s := newSession(t)
	s.run("rdd up dev --template template:alpine; rdd limavm shell dev -- sh -c 'echo precious >kept; sync'")
	page := func(document string, wants ...string) {
		t.Run(document, func(t *testing.T) {
			s := &session{t, s.environ}
			says(t, document, s.follow(document), wants...)
		})
	}
	page("docs/troubleshooting.md", "Conditions:", "Starting")
	page("docs/security.md")
	page("docs/recipes.md", "limavm.lima.rancherdesktop.io/build created", "all is well", `Instance "ci" is deleted`)

	// An instance of Lima's has the same files. Its user leaves rdd's own behind.
	s.run(`rdd limavm stop dev
		mkdir -p .lima && cp -R "$(rdd svc paths RDD_LIMA_HOME)/dev" .lima/dev
		rdd limavm delete dev`)
	page("docs/migrating.md", `VM "dev" is running`, "kept")
	if got := s.run("rdd limavm shell dev -- cat kept"); got != "precious\n" {
		t.Errorf("in the imported VM there is %q", got)
	}
}

func TestExampleOfTheAPI(t *testing.T) {
	s := newSession(t)
	s.run(`rdd ctl create configmap dev --from-file=template=<(cat "$GUEST_TEMPLATE"; printf 'param: {FLAVOR: large}\nprovision: [{mode: user, script: "echo {{.Param.FLAVOR}}"}]\n')`)
	s.follow("docs/api.md")
}
