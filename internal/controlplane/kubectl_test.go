package controlplane

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// kube runs kubectl against a server, from a home of its own.
type kube struct {
	t          *testing.T
	kubeconfig string
	home       string
}

func newKube(t *testing.T, s *Server) kube {
	return kube{t: t, kubeconfig: s.cfg.Kubeconfig, home: t.TempDir()}
}

type result struct {
	stdout, stderr string
	code           int
}

// command runs rdd's kubectl, where there is an rdd: with the race detector, this binary's takes most of a second to begin.
func (k kube) command(args ...string) *exec.Cmd {
	binary, words := os.Args[0], []string{}
	if rdd := os.Getenv("RDD_BIN"); rdd != "" {
		binary, words = rdd, []string{"kubectl"}
	}
	words = append(words, "--kubeconfig", k.kubeconfig, "--cache-dir", filepath.Join(k.home, "cache"))
	cmd := exec.Command(binary, append(words, args...)...)
	cmd.Env = []string{
		roleVariable + "=" + roleKubectl, "HOME=" + k.home, "USERPROFILE=" + k.home,
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + k.home, "SystemRoot=" + os.Getenv("SystemRoot"),
		"KUBE_EDITOR=" + editor(),
	}
	return cmd
}

// editor is a program that turns red into blue.
func editor() string { return "sed -i s/red/blue/" }

func (k kube) try(stdin string, args ...string) result {
	k.t.Helper()
	cmd := k.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		k.t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (k kube) run(stdin string, args ...string) string {
	k.t.Helper()
	r := k.try(stdin, args...)
	if r.code != 0 {
		k.t.Fatalf("kubectl %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func (k kube) expect(want, stdin string, args ...string) {
	k.t.Helper()
	if got := k.run(stdin, args...); !regexp.MustCompile(want).MatchString(got) {
		k.t.Errorf("kubectl %s: want %q in\n%s", strings.Join(args, " "), want, got)
	}
}

// story runs f as a subtest, with a kubectl that reports there.
func (k kube) story(name string, f func(t *testing.T, k kube)) {
	k.t.Run(name, func(t *testing.T) { f(t, kube{t, k.kubeconfig, k.home}) })
}

func manifest(t *testing.T, name string, spec map[string]any) string {
	t.Helper()
	content, err := json.Marshal(widget(name, spec))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestKubectl(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	s := start(t, cfg)
	k := newKube(t, s)

	kubectlReads(k)
	kubectlWrites(k)
	kubectlWaits(k)
	kubectlEnds(k)
}

// kubectlReads tries what is asked about types, and of objects.
func kubectlReads(k kube) {
	k.story("version", func(t *testing.T, k kube) {
		var v struct{ GitVersion string }
		if err := json.Unmarshal([]byte(k.run("", "get", "--raw", "/version")), &v); err != nil {
			t.Fatal(err)
		}
		if _, err := version.ParseSemantic(v.GitVersion); err != nil {
			t.Error(err)
		}
		if want := "v1.37.2+rdd.0.1.0-test"; v.GitVersion != want {
			t.Errorf("version %s, want %s", v.GitVersion, want)
		}
	})
	k.story("api-resources", func(t *testing.T, k kube) {
		k.expect(`(?m)^widgets\s+example.rdd.dev/v1\s+true\s+Widget$`, "", "api-resources")
		k.expect(`(?m)^configmaps\s+cm\s+v1\s+true\s+ConfigMap$`, "", "api-resources")
		k.expect(`example.rdd.dev/v1`, "", "api-versions")
	})
	k.story("explain", func(t *testing.T, k kube) {
		k.expect(`Size of the widget, in millimetres`, "", "explain", "widgets.spec.size")
		k.expect(`A Widget for tests`, "", "explain", "widget")
		k.expect(`ConfigMap holds configuration data`, "", "explain", "configmap")
		k.expect(`(?s)metadata.*ObjectMeta`, "", "explain", "widgets", "--recursive")
	})
	k.story("create and get", func(t *testing.T, k kube) {
		k.expect(`widget.example.rdd.dev/one created`, manifest(t, "one", map[string]any{"size": 3}), "create", "-f", "-")
		k.expect(`(?m)^NAME\s+SIZE\none\s+3$`, "", "get", "widgets")
		k.expect(`widget.example.rdd.dev/one`, "", "get", "all", "-A", "-o", "name")
		k.expect(`color: grey`, "", "get", "widget", "one", "-o", "yaml")
		k.expect(`one`, "", "get", "widgets", "--field-selector", "spec.color=grey", "-o", "name")
		if got := k.run("", "get", "widgets", "--field-selector", "spec.color=red", "-o", "name"); got != "" {
			t.Errorf("selected %q", got)
		}
		k.expect(`(?s)Name:\s+one.*Size:\s+3`, "", "describe", "widget", "one")
		k.run("", "create", "configmap", "settings", "--from-literal", "a=b")
		k.expect(`(?m)^settings\s+1`, "", "get", "configmap", "settings")
		k.expect(`(?s)Name:\s+settings.*b`, "", "describe", "configmap", "settings")
	})
}

// kubectlWrites tries what changes objects, and what is refused.
func kubectlWrites(k kube) {
	k.story("strict validation", func(t *testing.T, k kube) {
		bad := manifest(t, "bad", map[string]any{"size": 3, "sise": 4})
		if r := k.try(bad, "create", "-f", "-"); r.code == 0 || !strings.Contains(r.stderr, `unknown field "spec.sise"`) {
			t.Errorf("code %d, %s", r.code, r.stderr)
		}
		if r := k.try(bad, "create", "-f", "-", "--validate=warn", "--dry-run=server"); r.code != 0 || !strings.Contains(r.stderr, "unknown field") {
			t.Errorf("code %d, %s", r.code, r.stderr)
		}
		if r := k.try(manifest(t, "bad", map[string]any{"size": 0}), "create", "-f", "-"); r.code == 0 || !strings.Contains(r.stderr, "greater than or equal to 1") {
			t.Errorf("code %d, %s", r.code, r.stderr)
		}
	})
	k.story("apply", func(t *testing.T, k kube) {
		first, second := manifest(t, "two", map[string]any{"size": 5}), manifest(t, "two", map[string]any{"size": 6, "color": "red"})
		k.expect(`two created`, first, "apply", "-f", "-")
		k.expect(`two unchanged`, first, "apply", "-f", "-")
		if r := k.try(second, "diff", "-f", "-"); r.code != 1 || !strings.Contains(r.stdout, "+  size: 6") {
			t.Errorf("diff: code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		k.expect(`two configured \(server dry run\)`, second, "apply", "-f", "-", "--dry-run=server")
		k.expect(`^5$`, "", "get", "widget", "two", "-o", "jsonpath={.spec.size}")
		k.expect(`two configured`, second, "apply", "-f", "-")
		k.expect(`^6$`, "", "get", "widget", "two", "-o", "jsonpath={.spec.size}")
	})
	k.story("apply --server-side", func(t *testing.T, k kube) {
		k.expect(`serverside-applied`, manifest(t, "three", map[string]any{"size": 7}), "apply", "--server-side", "-f", "-")
		r := k.try(manifest(t, "three", map[string]any{"size": 8}), "apply", "--server-side", "--field-manager", "other", "-f", "-")
		if r.code == 0 || !strings.Contains(r.stderr, `conflict with "kubectl": .spec.size`) {
			t.Errorf("code %d, %s", r.code, r.stderr)
		}
		k.expect(`serverside-applied`, manifest(t, "three", map[string]any{"size": 8}), "apply", "--server-side", "--force-conflicts", "--field-manager", "other", "-f", "-")
		config := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied","finalizers":["example.rdd.dev/a"]},"data":{"x":"y"}}`
		k.expect(`serverside-applied`, config, "apply", "--server-side", "-f", "-")
		k.expect(`serverside-applied`, strings.ReplaceAll(config, "rdd.dev/a", "rdd.dev/b"), "apply", "--server-side", "--field-manager", "other", "-f", "-")
		k.expect(`example.rdd.dev/a.*example.rdd.dev/b`, "", "get", "configmap", "applied", "-o", "jsonpath={.metadata.finalizers}")
		k.run("", "patch", "configmap", "applied", "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
	})
	k.story("edit and patch", func(t *testing.T, k kube) {
		if _, err := exec.LookPath("sed"); err != nil {
			t.Log("no sed here, leaving edit out")
		} else {
			k.run("", "patch", "widget", "two", "--type=merge", "-p", `{"spec":{"color":"red"}}`)
			k.expect(`two edited`, "", "edit", "widget", "two")
			k.expect(`^blue$`, "", "get", "widget", "two", "-o", "jsonpath={.spec.color}")
		}
		k.run("", "patch", "widget", "two", "--type=json", "-p", `[{"op":"replace","path":"/spec/size","value":9}]`)
		k.run("", "patch", "configmap", "settings", "-p", `{"data":{"c":"d"}}`) // strategic
		k.expect(`{"a":"b","c":"d"}`, "", "get", "configmap", "settings", "-o", "jsonpath={.data}")
		k.run("", "label", "widget", "two", "tier=gold")
		k.expect(`two`, "", "get", "widgets", "-l", "tier=gold", "-o", "name")
		k.run("", "annotate", "widget", "two", "note=this")
	})
}

// kubectlWaits tries what goes on until something happens.
func kubectlWaits(k kube) {
	k.story("wait", func(t *testing.T, k kube) {
		waiting := k.command("wait", "--for=condition=Ready", "widget/two", "--timeout=60s")
		var stdout bytes.Buffer
		waiting.Stdout = &stdout
		if err := waiting.Start(); err != nil {
			t.Fatal(err)
		}
		k.run("", "patch", "widget", "two", "--subresource=status", "--type=merge", "-p",
			`{"status":{"phase":"Up","conditions":[{"type":"Ready","status":"True"}]}}`)
		if err := waiting.Wait(); err != nil || !strings.Contains(stdout.String(), "condition met") {
			t.Errorf("%v: %s", err, stdout.String())
		}
		k.expect(`condition met`, "", "wait", "--for=jsonpath={.status.phase}=Up", "widget/two", "--timeout=60s")
		k.expect(`condition met`, "", "wait", "--for=create", "widget/two", "--timeout=60s")
	})
	k.story("get -w", func(t *testing.T, k kube) {
		watching := k.command("get", "widgets", "-w", "-o", "jsonpath={.metadata.name}:{.spec.size}{'\\n'}")
		stdout, err := watching.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := watching.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = watching.Process.Kill()
			_ = watching.Wait()
		}()
		lines := newLines(stdout)
		lines.waitFor(t, "two:9")
		k.run("", "patch", "widget", "two", "--type=merge", "-p", `{"spec":{"size":10}}`)
		lines.waitFor(t, "two:10")
	})
}

// kubectlEnds tries who may do what, and the end of objects.
func kubectlEnds(k kube) {
	k.story("auth", func(t *testing.T, k kube) {
		k.expect(`^yes`, "", "auth", "can-i", "delete", "widgets")
		k.expect(`\*\.\*`, "", "auth", "can-i", "--list")
		k.expect(`rdd-admin`, "", "auth", "whoami")
		if r := k.try("", "auth", "can-i", "delete", "widgets", "--as", "system:serviceaccount:default:default"); r.code == 0 || !strings.HasPrefix(r.stdout, "no") {
			t.Errorf("code %d, %s", r.code, r.stdout)
		}
		if token := k.run("", "create", "token", "default"); strings.Count(token, ".") != 2 {
			t.Errorf("token %q", token)
		}
	})
	k.story("delete", func(t *testing.T, k kube) {
		k.expect(`"one" deleted`, "", "delete", "widget", "one", "--dry-run=server")
		k.expect(`one`, "", "get", "widget", "one", "-o", "name")
		k.expect(`"one" deleted`, "", "delete", "widget", "one")
		if r := k.try("", "get", "widget", "one"); r.code != 1 || !strings.Contains(r.stderr, `widgets.example.rdd.dev "one" not found`) {
			t.Errorf("code %d, %s", r.code, r.stderr)
		}
		k.run("", "delete", "widgets", "--all")
		k.run("", "wait", "--for=delete", "widget/two", "--timeout=60s")
	})
	k.story("namespaces and definitions", func(t *testing.T, k kube) {
		k.run("", "create", "namespace", "extra")
		k.run(manifest(t, "inside", map[string]any{"size": 1}), "create", "-n", "extra", "-f", "-")
		k.run("", "delete", "namespace", "extra", "--timeout=60s")
		k.expect(`widgets.example.rdd.dev`, "", "get", "crd", "-o", "name")
		k.expect(`(?s)cluster-admin.*system:basic-user`, "", "get", "clusterroles")
		k.expect(`kube-root-ca.crt`, "", "get", "configmaps", "-n", "kube-system")
	})
}
