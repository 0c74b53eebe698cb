package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// third is somebody else's programs, built from the module in test/thirdparty, and what docs/external-controllers.md gives them.
type third struct {
	*rig
	bin string
}

func newThird(t *testing.T) *third {
	t.Helper()
	th := &third{rig: newRig(t)}
	th.bin = filepath.Join(th.home, "bin")
	if err := os.MkdirAll(th.bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(th.bin, "rdd")); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("bash", "-c", `. ../../scripts/env && cd ../thirdparty && go vet ./... && go build -o "$0" ./...`, th.bin)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the programs: %v\n%s", err, output)
	}
	th.env = append(th.env, "PATH="+th.bin+":"+os.Getenv("PATH"))
	return th
}

// blocks are those of the document in a language.
func (th *third) blocks(language string) []string {
	th.Helper()
	text, err := os.ReadFile("../../docs/external-controllers.md")
	if err != nil {
		th.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		found = append(found, match[1])
	}
	return found
}

// program starts one of the programs, with the credentials that the document makes; its words go to a file.
func (th *third) program(name string) (said string) {
	th.Helper()
	said = filepath.Join(th.home, name+".log")
	log, err := os.Create(said)
	if err != nil {
		th.Fatal(err)
	}
	defer log.Close()
	path := filepath.Join(th.bin, name)
	child, err := process.Start(process.Command{
		Path: path, Args: []string{path}, Dir: th.home, Stdout: log, Stderr: log,
		Env: append(th.env, "KUBECONFIG="+filepath.Join(th.home, "stopafter.kubeconfig")),
	})
	if err != nil {
		th.Fatal(err)
	}
	th.Cleanup(func() {
		th.kill(child.Identity().PID)
		if th.Failed() {
			th.Logf("%s:\n%s", name, tail(said))
		}
	})
	return said
}

// await looks again and again until ok.
func (th *third) await(what string, ok func() bool) {
	th.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			th.Fatalf("never: %s", what)
		}
	}
}

// TestThirdParty follows docs/external-controllers.md word for word. Nobody runs the VM: the test itself reports its state, so that the
// programs of the third party are all that act.
func TestThirdParty(t *testing.T) {
	th := newThird(t)
	source, err := os.ReadFile("../thirdparty/stopafter/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if shown := th.blocks("go"); len(shown) != 1 || shown[0] != string(source) {
		t.Error("docs/external-controllers.md does not show test/thirdparty/stopafter/main.go as it is")
	}
	script := "set -euo pipefail\n" + strings.Join(th.blocks("sh"), "\n")
	followed := th.exec("bash", nil, "", "-c", script)
	for _, want := range []string{"true", "serviceaccount/stopafter created", "No resources found", `"kind": "LimaVMList"`} {
		if followed.code != 0 || !strings.Contains(followed.stdout+followed.stderr, want) {
			t.Fatalf("following the document: exit code %d, no %q in:\n%s%s", followed.code, want, followed.stdout, followed.stderr)
		}
	}
	for question, want := range map[string]string{"patch limavms": "yes", "list secrets": "no", "create limavms": "no"} {
		got := th.run(append([]string{"ctl", "auth", "can-i", "--as=system:serviceaccount:default:stopafter"}, strings.Fields(question)...)...)
		if strings.TrimSpace(got.stdout) != want {
			t.Errorf("may %s: %q, want %q", question, got.stdout, want)
		}
	}

	said := th.program("vmwatch")
	th.program("stopafter")
	th.must("limavm", "create", "dev", th.guest(), "--wait=false")
	th.must("ctl", "patch", "limavm", "dev", "--type=merge", "-p", `{"spec":{"running":true}}`)
	report := fmt.Sprintf(`{"status":{"phase":"Running","conditions":[{"type":"Running","status":"True","reason":"Started","message":"","lastTransitionTime":%q}]}}`,
		time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
	th.must("ctl", "patch", "limavm", "dev", "--subresource=status", "--type=merge", "-p", report)
	th.await("what vmwatch prints", func() bool { return strings.HasSuffix(string(tail(said)), "dev: Running\n") })
	if !th.vm("dev").Spec.Running {
		t.Error("it was stopped without having been asked to")
	}
	th.must("ctl", "annotate", "limavm", "dev", "example.com/stop-after=50s")
	th.await("stopafter stops the VM", func() bool { return !th.vm("dev").Spec.Running })

	th.must("ctl", "delete", "serviceaccount", "stopafter")
	blocks := th.blocks("sh")
	refused := th.exec("bash", nil, "", "-c", "set -euo pipefail\neval \"$(rdd svc paths -o shell)\"\n"+
		"server=$(rdd ctl config view -o jsonpath='{.clusters[0].cluster.server}')\n"+blocks[len(blocks)-1])
	if refused.code == 0 || !strings.Contains(refused.stderr, "401") {
		t.Errorf("after access was revoked: exit code %d, %s", refused.code, refused.stderr)
	}
}
