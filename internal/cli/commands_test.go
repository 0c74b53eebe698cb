package cli

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/vmfake"
)

const goodTemplate = `images: [{location: "https://example.com/x.img", arch: x86_64}, {location: "https://example.com/y.img", arch: aarch64}]
param: {FLAVOR: large}
provision: [{mode: user, script: "echo {{.Param.FLAVOR}}"}]
`

// TestLifeOfAVM goes through all that a user can do to a VM, on VMs in memory.
func TestLifeOfAVM(t *testing.T) {
	p := newPlane(t)
	file := p.file("dev.yaml", goodTemplate)

	p.want(0, `^VM "dev" could be created \(dry run\)`, "vm", "create", "dev", file, "--dry-run")
	p.want(5, `there is no VM "dev"`, "vm", "status", "dev")
	p.want(0, `^VM "dev" is created`, "vm", "create", "dev", file, "--cpus=3", "--memory=1GiB", "--disk=7GiB", "--set", `.ssh.localPort=7`)
	for _, want := range []string{"cpus: 3", "memory: \"?1GiB", "disk: \"?7GiB", "localPort: 7"} {
		p.want(0, want, "ctl", "get", "configmap", "dev-template", "-o", "jsonpath={.data.template}")
	}
	p.want(3, `already exists`, "vm", "create", "dev", file)
	p.want(1, `is not running \(Stopped\); "rdd limavm start dev" starts it`, "vm", "shell", "dev")
	p.want(1, `is not running \(Stopped\)`, "vm", "cp", "a", "dev:")
	p.want(1, `is not running \(Stopped\)`, "vm", "ssh-config", "dev")
	p.want(0, `^VM "dev" is running`, "vm", "start", "dev")
	p.want(0, `dev +default +Running +\S+ +2 +2Gi +100Gi +127.0.0.1:\d+`, "vm", "list")

	agent := agentOf(p.vm("dev"))
	p.want(0, `^VM "dev" has restarted`, "vm", "restart", "dev")
	if agentOf(p.vm("dev")) == agent || p.machine.Count(vm.OpStop, "dev") != 1 {
		t.Error("restart did not replace the agent once")
	}
	p.want(2, `Nobody can be asked without a terminal`, "vm", "reset", "dev")
	p.want(0, `^VM "dev" is reset`, "vm", "reset", "dev", "--yes")
	if deleted, created := p.machine.Count(vm.OpDelete, "dev"), p.machine.Count(vm.OpCreate, "dev"); deleted != 1 || created != 2 {
		t.Errorf("reset: deleted %d times, created %d times", deleted, created)
	}
	if phase := p.vm("dev").Status.Phase; phase != v1alpha1.PhaseRunning {
		t.Errorf("after a reset it is %s", phase)
	}
	p.want(0, `(?s)Name: +dev\n.*Phase: +Running\n.*Conditions:.*Running +True +Started.*Recent events:.*Started`, "vm", "status", "dev")
	p.want(0, `(?s)TIME.*Normal +Created.*Normal +Started.*Normal +Stopped.*Normal +Started`, "vm", "events", "dev")
	p.want(0, `"reason": "Started"`, "vm", "events", "-o", "json")
	p.want(0, `^VM "dev" has stopped`, "vm", "stop", "dev")
	p.want(0, `^VM "dev" has restarted`, "vm", "restart", "dev") // what does not run is started
	p.want(0, `patched`, "ctl", "patch", "limavm", "dev", "--type=merge", "-p", `{"spec":{"stopGracePeriodSeconds":3600}}`)
	release := p.hang(vm.OpStop)
	p.want(0, `^VM "dev" is deleted`, "vm", "delete", "dev", "--force") // does not wait for the grace
	release()
	p.want(5, `there is no VM "dev"`, "vm", "restart", "dev")
	p.want(5, `there is no VM "dev"`, "vm", "reset", "dev", "--yes")
}

func TestWhereTemplatesComeFrom(t *testing.T) {
	p := newPlane(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/dev.yaml" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(goodTemplate))
	}))
	defer web.Close()
	p.want(0, `"web" is created`, "vm", "create", "web", web.URL+"/dev.yaml", "--param", "FLAVOR=small")
	p.want(5, `404`, "vm", "create", "none", web.URL+"/nothing.yaml")
	p.wantIn(goodTemplate, 0, `"stdin" is created`, "vm", "create", "stdin", "-")
	p.want(0, `"builtin" is created`, "vm", "create", "builtin", "template:alpine")
	p.want(0, `created`, "ctl", "create", "configmap", "source", "--from-literal=template="+goodTemplate)
	p.want(0, `"mapped" is created`, "vm", "create", "mapped", "source")
	p.want(2, `edit that instead`, "vm", "create", "more", "source", "--cpus=2")
	p.want(5, `there is no ConfigMap "nowhere"`, "vm", "create", "more", "nowhere")
	p.want(3, `has no parameter "COLOR"`, "vm", "create", "more", "source", "--param", "COLOR=red")
	p.wantIn("images: [", 3, `line 1`, "vm", "create", "more", "-")
	p.wantIn("cpus: 2\n", 3, `not valid: .*images`, "vm", "create", "more", "-")
	p.want(0, `^builtin\nmapped\nstdin\nweb\n$`, "vm", "list", "-o", "name")
	p.want(0, `^(kube-root-ca.crt )?builtin builtin-template`, "ctl", "get", "configmap", "-o", "jsonpath={.items[*].metadata.name}") // nothing of those that were refused
	p.want(0, `NAME +VALUE +DEFAULT\nFLAVOR +small +large`, "vm", "params", "web")
}

// TestWarningsOfLima are lines for people, and each is there once.
func TestWarningsOfLima(t *testing.T) {
	p := newPlane(t)
	odd := p.file("odd.yaml", goodTemplate+"colour: red\n")
	for _, quiet := range []bool{false, true} {
		cmd := p.program(nil, "vm", "create", "odd", odd, "--dry-run")
		if quiet {
			cmd = p.program(nil, "--quiet", "vm", "create", "odd", odd, "--dry-run")
		}
		stderr := newOutput()
		cmd.Stderr = stderr
		p.must(cmd.Run())
		const want = `^Warning: [^\n]*typos[^\n]*unknown field "colour"\n$`
		if said := stderr.String(); quiet && said != "" || !quiet && !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("quiet: %t: %s", quiet, said)
		}
	}
}

func TestParams(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is running", "vm", "create", "dev", "-", "--start")
	p.want(0, `has the changed parameters`, "vm", "params", "dev", "FLAVOR=small")
	p.want(0, `"value": "small",\n +"default": "large",\n +"set": true`, "vm", "params", "dev", "-o", "json")
	p.want(0, `has these parameters already`, "vm", "params", "dev", "FLAVOR=small")
	p.want(3, `has no parameter "COLOR"`, "vm", "params", "dev", "COLOR=red")
	p.want(2, `KEY=VALUE was expected`, "vm", "params", "dev", "FLAVOR")
	p.want(0, `has the changed parameters`, "vm", "params", "dev", "--unset", "FLAVOR")
	p.want(0, `FLAVOR +large +large`, "vm", "params", "dev")
	if n := p.vm("dev").Status.RestartCount; n != 3 {
		t.Errorf("started %d times: each change restarts a running VM once", n)
	}
}

// TestParamsTakenBack: a change that takes back another one, which is under way, ends with what the instance had all along.
func TestParamsTakenBack(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is running", "vm", "create", "dev", "-", "--start")
	release := p.hang(vm.OpStop)
	defer release()
	p.want(0, `will get the changed parameters`, "vm", "params", "dev", "FLAVOR=small", "--wait=false")
	p.until("dev", func(vm *v1alpha1.LimaVM) bool { return vm.Status.Phase == v1alpha1.PhaseStopping })
	stdout, stderr, ended := newOutput(), newOutput(), make(chan int, 1)
	go func() {
		ended <- p.runIn(t.Context(), "", stdout, stderr, "vm", "params", "dev", "--unset", "FLAVOR", "--timeout=20s")
	}()
	p.until("dev", func(vm *v1alpha1.LimaVM) bool {
		return len(vm.Spec.Params) == 0 && vm.Status.ObservedGeneration == vm.Generation
	})
	release()
	if code := <-ended; code != 0 || !strings.Contains(stdout.String(), "has the changed parameters") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestEdit(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is running", "vm", "create", "dev", "-", "--start")
	p.wantIn(goodTemplate+"cpus: 3\n", 0, `has the changed template`, "vm", "edit", "dev", "--file", "-")
	if n := p.vm("dev").Status.RestartCount; n != 2 {
		t.Errorf("started %d times, want 2", n)
	}
	p.want(0, `cpus: 3`, "ctl", "get", "configmap", "dev-template", "-o", "jsonpath={.data.template}")
	p.wantIn(goodTemplate+"cpus: 3\n", 0, `is not changed`, "vm", "edit", "dev", "--file", "-")
	p.wantIn("cpus: [", 3, `not valid, and nothing has changed: line 1`, "vm", "edit", "dev", "--file", "-")
	p.wantIn("\n", 3, `it is empty`, "vm", "edit", "dev", "--file", "-")
	p.want(5, `cannot read the template`, "vm", "edit", "dev", "--file", filepath.Join(p.home, "nowhere"))

	sed, err := exec.LookPath("sed")
	p.must(err)
	t.Setenv("TMPDIR", p.home)
	t.Setenv("VISUAL", sed+" -i s/3$/4/")
	p.want(0, `has the changed template`, "vm", "edit", "dev")
	p.want(0, `cpus: 4`, "ctl", "get", "configmap", "dev-template", "-o", "jsonpath={.data.template}")
	t.Setenv("VISUAL", sed+" -i s/4$/none/")
	refused := p.want(3, `your text is kept in (\S+): mend it`, "vm", "edit", "dev")
	kept := regexp.MustCompile(`kept in (\S+):`).FindStringSubmatch(refused)
	if kept == nil {
		t.Fatal("it does not say where")
	}
	text, err := os.ReadFile(kept[1])
	if err != nil || !strings.Contains(string(text), "cpus: none") {
		t.Errorf("what is kept: %q, %v", text, err)
	}
	left, err := filepath.Glob(filepath.Join(p.home, "rdd-dev-*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files are left of edits that were not refused: %q, %v", left, err)
	}
	t.Setenv("VISUAL", "false")
	if said := p.want(1, `cannot edit the template`, "vm", "edit", "dev"); strings.Contains(said, "kept") {
		t.Errorf("nothing was typed: %s", said)
	}
	t.Setenv("VISUAL", "sh -c 'echo cpus: 5 >>$1; false' --")
	p.want(1, `cannot edit the template .*; your text is kept in `, "vm", "edit", "dev")
	if left, err := filepath.Glob(filepath.Join(p.home, "rdd-dev-*")); err != nil || len(left) != 2 {
		t.Errorf("files are left of edits in which nothing was typed: %q, %v", left, err)
	}
}

// TestEditOfWhatFailed: what the former template still leads to is not the outcome of the one that mends it.
func TestEditOfWhatFailed(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is running", "vm", "create", "dev", "-", "--start")
	retried, release := make(chan struct{}), make(chan struct{})
	attempts := 0
	p.machine.Behave(func(ctx context.Context, call vmfake.Call) error {
		if call.Operation != vm.OpApply || !strings.Contains(string(call.Spec.Template), "cpus: 3") {
			return nil
		}
		if attempts++; attempts == 2 {
			close(retried)
			<-release
		}
		return errors.New("there is no room")
	})
	p.wantIn(goodTemplate+"cpus: 3\n", 1, `cannot change VM "dev": .*there is no room`, "vm", "edit", "dev", "--file", "-")
	<-retried
	stdout, stderr, ended := newOutput(), newOutput(), make(chan int, 1)
	go func() {
		ended <- p.runIn(t.Context(), goodTemplate+"cpus: 4\n", stdout, stderr, "vm", "edit", "dev", "--file", "-")
	}()
	stderr.await(t, "^dev: ")
	close(release)
	if code := <-ended; code != 0 || !strings.Contains(stdout.String(), "has the changed template") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestEditIgnoresWhatLimactlIsSet: its defaults are for its own VMs.
func TestEditIgnoresWhatLimactlIsSet(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	defaults := filepath.Join(p.home, ".lima", "_config")
	p.must(os.MkdirAll(defaults, 0o700))
	p.must(os.WriteFile(filepath.Join(defaults, "default.yaml"), []byte("cpus: [\n"), 0o600))
	t.Setenv("LIMA_HOME", filepath.Dir(defaults))
	p.wantIn(goodTemplate+"cpus: 3\n", 0, `has the changed template`, "vm", "edit", "dev", "--file", "-")
}

func TestFailuresAreShownInDepth(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	mended := p.failing(vm.OpStart, "there is no QEMU")
	p.want(1, `(?s)^dev: .*Error: cannot start VM "dev": .*there is no QEMU.*\n$`, "vm", "start", "dev")
	p.want(0, `(?s)Phase: +Failed.*What is wrong \(StartFailed\):\n  .*there is no QEMU.*\nWhat to do:\n  "rdd limavm logs dev"`, "vm", "status", "dev")
	p.want(0, `"reason": "StartFailed"`, "vm", "status", "dev", "-o", "json")
	p.want(1, `cannot restart VM "dev": .*there is no QEMU`, "vm", "restart", "dev")
	mended()
	p.want(0, `has restarted`, "vm", "restart", "dev") // which does not wait for the pause after a failure, nor report that again
}

func TestWaits(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	release := p.hang(vm.OpStart)
	ctx, interrupt := context.WithCancel(t.Context())
	stderr, ended := newOutput(), make(chan int, 1)
	go func() { ended <- p.runIn(ctx, "", newOutput(), stderr, "vm", "start", "dev") }()
	stderr.await(t, `^dev: Starting`)
	interrupt()
	if code := <-ended; code != exitInterrupted || !strings.Contains(stderr.String(), `Error: interrupted: VM "dev" goes on starting without you; "rdd limavm status dev" shows`) {
		t.Errorf("an interrupt: exit code %d, %s", code, stderr)
	}
	p.want(4, `VM "dev" was still starting after 1ms.*context deadline exceeded; it goes on`, "vm", "start", "dev", "--timeout=1ms")
	ctx, interrupt = context.WithCancel(t.Context())
	go func() {
		ended <- p.runIn(ctx, "", newOutput(), stderr, "ctl", "wait-condition", "limavm/dev", "Running")
	}()
	interrupt()
	if code := <-ended; code != exitInterrupted {
		t.Errorf("an interrupt: exit code %d, %s", code, stderr)
	}
	p.want(4, `Running=True within 1ms .*context deadline exceeded`, "ctl", "wait-condition", "limavm/dev", "Running", "--timeout=1ms")
	release()
	p.want(0, `^limavm/dev condition Running=True met`, "ctl", "wait-condition", "limavm/dev", "Running", "--reason=Started")
	p.want(0, `met`, "ctl", "wait-condition", "lvm/dev", "running=true", "--since=2020-01-01T00:00:00Z")
	p.want(0, `met`, "ctl", "wait-condition", "limavms.lima.rancherdesktop.io/dev", "Created", "--since", "startup", "-n", "default")
	p.want(4, `Running=True since 2999-01-01T00:00:00Z within 5s \(now: True, Started\)`, "ctl", "wait-condition", "limavm/dev", "Running", "--since=2999-01-01T00:00:00Z", "--timeout=5s")
	p.want(4, `Running=True with the reason Crashed within 1s .*deadline`, "ctl", "wait-condition", "limavm/dev", "Running", "--reason=Crashed", "--timeout=1s")
	p.want(2, `one of True, False, Unknown, got "Maybe"`, "ctl", "wait-condition", "limavm/dev", "Running=Maybe")
	p.want(5, `there is no limavm "nobody"`, "ctl", "wait-condition", "limavm/nobody", "Running")
	p.want(5, `no type "nothing"`, "ctl", "wait-condition", "nothing/dev", "Running")
	p.want(2, `neither "startup" nor a time`, "ctl", "wait-condition", "limavm/dev", "Running", "--since=yesterday")
	p.want(2, `TYPE/NAME`, "ctl", "wait-condition", "dev", "Running")
	p.want(2, `were expected`, "ctl", "wait-condition", "limavm/dev")
}

func TestFollowing(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	for _, c := range []struct {
		args, before, after string
	}{
		{"vm list -w", `NAME .*\ndev +default +Stopped`, `dev +default +Running`},
		{"vm list -w -o name", `^dev\n`, `dev\ndev\n`},
		{"vm list -w -o json", `"phase":"Stopped"`, `"phase":"Running"`},
		{"vm events -f", `TIME .*(?s).*dev +Normal +Created`, `dev +Normal +Started`},
		{"vm events dev -f -o json", `"reason":"Created"`, `"reason":"Started"`},
	} {
		t.Run(c.args, func(t *testing.T) {
			p := p.sub(t)
			p.want(0, "", "vm", "stop", "dev")
			stdout, code := newOutput(), make(chan int, 1)
			ctx, interrupt := context.WithCancel(t.Context())
			go func() {
				code <- p.runIn(ctx, "", stdout, newOutput(), strings.Fields(c.args)...)
			}()
			stdout.await(t, c.before)
			p.want(0, "", "vm", "start", "dev")
			stdout.await(t, c.after)
			interrupt()
			if got := <-code; got != 0 {
				t.Errorf("exit code %d", got)
			}
		})
	}
	p.want(2, "-w goes with", "vm", "list", "-w", "-o", "yaml")
	p.want(2, "-f goes with", "vm", "events", "-f", "-o", "yaml")
}

func TestCompletion(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	p.want(0, `created`, "ctl", "create", "namespace", "team")
	p.want(0, `created`, "ctl", "create", "configmap", "source", "--from-literal=template="+goodTemplate)
	for line, want := range map[string]string{
		"vm start ":                        `^dev\tStopped\n:4`,
		"vm start dev ":                    `^:4`,
		"vm shell ":                        `^dev`,
		"vm shell dev --w":                 `(?m)^--workdir`,
		"vm shell dev --env A=B --w":       `(?m)^--workdir`,
		"vm shell dev ls --w":              `^:4`,
		"--log-level=debug vm start ":      `^dev\tStopped\n:4`,
		"--log-level debug vm start ":      `^dev\tStopped\n:4`,
		"--instance=none vm start ":        `^:4`,
		"--log":                            `^--log-level`,
		"up ":                              `^dev`,
		"down ":                            `^dev`,
		"vm create x ":                     `(?s)template:default\n.*template:ubuntu\n.*source\n:0`,
		"vm create x --namespace ":         `(?m)^team$`,
		"vm params dev ":                   `^FLAVOR=\tlarge\n:6`,
		"vm params dev --unset ":           `^FLAVOR`,
		"ctl wait-condition ":              `^limavm/dev`,
		"ctl wait-condition limavm/dev ":   `(?s)Created\n.*Running\n.*Degraded`,
		"ctl wait-condition x Running -n ": `(?m)^team$`,
	} {
		words := strings.Split(line, " ")
		p.want(0, want, append([]string{"__complete"}, words...)...)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		p.want(0, `__complete`, "completion", shell)
	}
}

// TestCompletionStartsNothing: whoever presses the tab key has not asked for a control plane.
func TestCompletionStartsNothing(t *testing.T) {
	home := t.TempDir()
	stdout, _, code := rdd(t, home, nil, "__complete", "vm", "start", "")
	if code != 0 || stdout != ":4\n" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	if left, err := filepath.Glob(filepath.Join(home, "*")); err != nil || len(left) > 0 {
		t.Errorf("it made %q, %v", left, err)
	}
}
