package docs

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// step is an example of "rdd … --help", and what shows that it works.
type step struct {
	// before makes what the example takes for granted.
	before string
	// types is the example; empty where only before is of interest.
	types string
	// says is in what it prints.
	says string
	// followed is for what ends only when it is interrupted: it is, once it has said what it must.
	followed bool
}

// story has every example of --help, in an order in which a user could type them. Its VM is called dev, as that of the examples.
var story = []step{
	{types: "rdd version", says: "rdd"},
	{types: "rdd version -o json", says: `"version"`},
	{types: "rdd kubectl version --client", says: "Client Version"},
	{types: "rdd svc install --dry-run", says: "svc serve"},
	{types: "rdd svc uninstall --dry-run"},

	{types: "rdd svc create --secure-port 7443"},
	{types: "rdd --log-level=debug svc serve", says: "ready", followed: true},
	{types: "rdd svc start", says: "is ready"},
	{types: "rdd svc status -o json", says: `"ready": true`},
	{types: "rdd svc paths RDD_CONFIG", says: "config"},
	{types: `eval "$(rdd svc paths -o shell)"`},
	{before: "mkdir -p ~/.kube", types: "rdd svc config > ~/.kube/rdd"},
	{types: "rdd svc config --rotate > ~/.kube/rdd"},
	{types: "rdd svc logs"},
	{types: "rdd svc logs --tail 20"},
	{
		before: `echo remembered >>"$(rdd svc paths RDD_LOG_DIR)/rdd.stderr.log"; rdd svc restart`,
		types:  "rdd svc logs --previous", says: "remembered",
	},

	{types: "rdd limavm create dev template:debian --cpus 2 --memory 8GiB --start", says: `VM "dev" is running`},
	{types: "rdd ctl get limavm", says: "Running"},
	{types: "rdd ctl wait limavm/dev --for=condition=Running --timeout=5m", says: "condition met"},
	{types: "rdd ctl wait-condition limavm/dev Running", says: "Running"},
	{types: "rdd up dev --template template:debian", says: `VM "dev" is running`},
	{types: "rdd limavm list", says: "8Gi"},
	{types: "rdd limavm list -w", says: "dev", followed: true},
	{types: "rdd limavm list -o name", says: "dev"},
	{types: "rdd limavm status dev", says: "Conditions:"},
	{types: "rdd limavm status dev -o json", says: `"phase": "Running"`},
	{types: "rdd limavm events dev", says: "Started"},
	{types: "rdd limavm events -f", says: "Started", followed: true},
	{types: "rdd limavm logs dev", says: "ssh"},
	{types: "rdd limavm logs dev --serial --tail 20"},
	{types: "rdd limavm shell dev"}, // nobody types anything into it
	{types: "rdd limavm shell dev -- uname -a", says: "lima-dev"},
	{before: "rdd limavm shell dev -- touch /tmp/seen", types: "rdd limavm shell dev --workdir /tmp --env LANG=C -- ls -l", says: "seen"},
	{before: "echo remember >notes.txt", types: "rdd limavm cp notes.txt dev:"},
	{types: "rdd limavm cp -r dev:/var/log ./logs"},
	{before: "ls logs; rdd limavm shell dev -- cat notes.txt", says: "remember"},
	{types: "rdd limavm ssh-config dev", says: "Host lima-dev"},
	{types: "rdd limavm ssh-config dev -o path", says: "ssh.config"},
	{types: "rdd svc restart", says: "is ready"},
	{types: "rdd limavm restart dev", says: `VM "dev" has restarted`},
	{types: "rdd svc stop --keep-vms"},
	{before: "rdd svc start", types: "rdd limavm start dev", says: `VM "dev" is running`},
	{types: "rdd limavm stop dev", says: `VM "dev" has stopped`},
	{types: "rdd ctl wait-condition limavm/dev Running=False --reason Stopped --timeout 1m", says: "Running=False met"},
	{types: "rdd limavm reset dev --yes"},
	{types: "rdd limavm delete dev", says: `VM "dev" is deleted`},

	{
		before: `{ cat "$GUEST_TEMPLATE"; printf 'param: {FLAVOR: small}\nprovision: [{mode: user, script: "echo {{.Param.FLAVOR}}"}]\n'; } >dev.yaml`,
		types:  "rdd limavm create dev ./dev.yaml --set '.ssh.forwardAgent = true'", says: `VM "dev" is created`,
	},
	{types: "rdd limavm params dev", says: "FLAVOR"},
	{types: "rdd limavm params dev FLAVOR=large"},
	{before: "rdd limavm params dev", says: "large"},
	{types: "rdd limavm params dev --unset FLAVOR"},
	{before: `export EDITOR="sed -i s/small/tiny/"`, types: "rdd limavm edit dev"},
	{before: "rdd limavm params dev", says: "tiny"},
	{types: "rdd limavm edit dev --file dev.yaml"},
	{before: "rdd limavm create default template:default", types: "rdd up", says: `VM "default" is running`},
	{types: "rdd down", says: `VM "default" has stopped`},
	{before: "rdd svc start", types: "rdd down --all"},

	{
		before: "rdd svc restart --controllers=-lima", types: "rdd --log-level=info controllers --group lima",
		says: "msg=ready group=lima", followed: true,
	},
	{types: "rdd doctor", says: "QEMU"},
	{types: "rdd doctor --fix", says: "QEMU"},
	{types: "rdd support-bundle", says: ".tar.gz"},
	{types: "rdd support-bundle --file=bundle.tar.gz", says: "bundle.tar.gz"},
	{types: "rdd svc stop"},
	{before: "rdd --instance=scratch svc start", types: "rdd --instance=scratch svc reset"},
	{types: "rdd --instance=scratch svc delete", says: `Instance "scratch" is deleted`},
}

// examples are those of the reference, which is generated from --help.
func examples(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference/rdd.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, block := range regexp.MustCompile(`(?m)^Examples:\n((?:  .+\n)+)`).FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) == 0 {
		t.Fatal("the reference has no examples")
	}
	return found
}

func TestExamplesOfHelp(t *testing.T) {
	var typed []string
	for _, step := range story {
		if step.types != "" {
			typed = append(typed, step.types)
		}
	}
	shown := examples(t)
	slices.Sort(typed)
	slices.Sort(shown)
	if !slices.Equal(typed, shown) {
		t.Fatalf("--help shows\n%s\n\nand here is typed\n%s", strings.Join(shown, "\n"), strings.Join(typed, "\n"))
	}
	s := newSession(t)
	for _, step := range story {
		do := s.enter
		if step.followed {
			do = s.followUntil
		}
		said := do(step)
		if !strings.Contains(said, step.says) {
			t.Errorf("%s %s did not print %q", step.before, step.types, step.says)
		}
	}
}

// enter types the example, and returns what it has said.
func (s *session) enter(step step) string {
	s.t.Helper()
	return s.run(step.before + "\n" + step.types)
}

// followUntil interrupts the example when it has said what it must, and returns what it has said.
func (s *session) followUntil(step step) string {
	s.t.Helper()
	if step.before != "" {
		s.run(step.before)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Close()
	cmd := s.command("exec " + step.types)
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = writer.Close()
	hangs := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	var said strings.Builder
	lines := bufio.NewScanner(reader)
	for interrupted := false; lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if !interrupted && strings.Contains(lines.Text(), step.says) {
			interrupted = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				s.t.Error(err)
			}
		}
	}
	err = cmd.Wait()
	if !hangs.Stop() {
		s.t.Errorf("%s did not end", step.types)
	}
	s.t.Logf("%s: %v\n%s", step.types, err, said.String())
	return said.String()
}
