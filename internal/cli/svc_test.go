package cli

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

// pretend makes this process the daemon of an instance, as far as its record tells.
func pretend(t *testing.T, inst instance.Instance, change func(*daemon.Record)) {
	t.Helper()
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	now := time.Now()
	record := daemon.Record{Identity: self, Address: server.Listener.Addr().String(), Version: "1.2.3", StartedAt: now, Ready: &now}
	change(&record)
	content, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inst.RecordFile(), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAnotherVersionIsNoticed: whoever has upgraded rdd is told that the old one still runs, and how to replace it.
func TestAnotherVersionIsNoticed(t *testing.T) {
	home := t.TempDir()
	inst, err := instance.New("", instance.Env{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*daemon.Record)
		want   string
	}{
		"the same":      {func(*daemon.Record) {}, ""},
		"another":       {func(r *daemon.Record) { r.Version = "1.2.2" }, "The daemon runs version 1.2.2, this is version 1.2.3: "},
		"another build": {func(r *daemon.Record) { r.Build = "an older file" }, "The daemon runs another build of version 1.2.3, this is version 1.2.3: "},
	} {
		t.Run(name, func(t *testing.T) {
			pretend(t, inst, c.change)
			for _, command := range []string{"start", "status"} {
				stdout, stderr, code := rdd(t, home, nil, "svc", command)
				offers := strings.Contains(stderr, `"rdd svc restart" replaces it and leaves the VMs running`)
				if code != 0 || !strings.HasPrefix(stderr, c.want) || offers != (c.want != "") || strings.Contains(stdout, "restart") {
					t.Errorf("svc %s: exit code %d, %q, %q", command, code, stdout, stderr)
				}
			}
			stdout, stderr, code := rdd(t, home, nil, "svc", "status", "-o", "json")
			var status serviceStatus
			if err := json.Unmarshal([]byte(stdout), &status); err != nil || code != 0 || stderr != "" {
				t.Fatalf("exit code %d, %v, %s", code, err, stderr)
			}
			if !strings.HasPrefix(status.Notice, c.want) || (status.Notice == "") != (c.want == "") {
				t.Errorf("notice %q", status.Notice)
			}
		})
	}
}

func TestAHomeDirectoryThatIsTooLong(t *testing.T) {
	home := filepath.Join(t.TempDir(), strings.Repeat("h", 100))
	for _, args := range [][]string{{"svc", "start"}, {"limavm", "list"}} {
		if _, stderr, code := rdd(t, home, nil, args...); code != exitFailed || !strings.Contains(stderr, "is too long for the sockets of VMs") {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
	if _, err := os.Stat(home); err == nil {
		t.Error("something was made")
	}
}

// TestStatusNamesVMsWithoutAControlPlane has this process as what runs one of them.
func TestStatusNamesVMsWithoutAControlPlane(t *testing.T) {
	home := t.TempDir()
	inst, err := instance.New("", instance.Env{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	dead := self
	dead.StartTime--
	for name, child := range map[string]process.Identity{"dev": self, "old": dead} {
		record, err := json.Marshal(map[string]any{"child": child})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(inst.RecordDir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(inst.RecordDir(name), "record.json"), record, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, code := rdd(t, home, nil, "svc", "status")
	if code != 0 || !strings.Contains(stdout, "running without a control plane: dev; \"rdd svc start\" takes over") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = rdd(t, home, nil, "svc", "status", "-o", "json")
	var status serviceStatus
	if err := json.Unmarshal([]byte(stdout), &status); err != nil || code != 0 || !slices.Equal(status.Unattended, []string{"dev"}) {
		t.Errorf("exit code %d, %v, %s%s", code, err, stdout, stderr)
	}
}

// TestStartWithFlagsThatAreNotInEffect: the control plane that runs has others.
func TestStartWithFlagsThatAreNotInEffect(t *testing.T) {
	home := t.TempDir()
	inst, err := instance.New("", instance.Env{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	pretend(t, inst, func(r *daemon.Record) { r.Session = []string{"--secure-port=7001"} })
	for flags, told := range map[string]bool{"": false, "--secure-port=7001": false, "--secure-port=7002": true, "--secure-port=7001 --controllers=-lima": true} {
		_, stderr, code := rdd(t, home, nil, append([]string{"svc", "start"}, strings.Fields(flags)...)...)
		if code != 0 || strings.HasPrefix(stderr, "Not in effect: --") != told || strings.Contains(stderr, `"rdd svc restart" with the same flags`) != told {
			t.Errorf("%q: exit code %d, %q", flags, code, stderr)
		}
	}
}

// TestStartBesideAControlPlaneThatHangs: its process lives, and nobody answers.
func TestStartBesideAControlPlaneThatHangs(t *testing.T) {
	home := t.TempDir()
	inst, err := instance.New("", instance.Env{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	pretend(t, inst, func(r *daemon.Record) { r.Address = listener.Addr().String() })
	_, stderr, code := rdd(t, home, nil, "svc", "start", "--timeout=1s")
	if code != exitFailed || !strings.HasPrefix(stderr, `Error: the control plane of instance "2" (PID `) || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, `does not answer (context deadline exceeded); "rdd svc restart" replaces it, and leaves the VMs running`) {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestResetOfADatastoreOfOthers has the objects elsewhere by a setting, and by a flag that holds for one session.
func TestResetOfADatastoreOfOthers(t *testing.T) {
	const endpoint = "--datastore-endpoint=http://127.0.0.1:2379"
	for name, arrange := range map[string]func(t *testing.T, home string, inst instance.Instance){
		"setting": func(t *testing.T, home string, _ instance.Instance) {
			if _, stderr, code := rdd(t, home, nil, "svc", "create", endpoint); code != 0 {
				t.Fatal(stderr)
			}
		},
		"session": func(t *testing.T, home string, inst instance.Instance) {
			if _, stderr, code := rdd(t, home, nil, "svc", "create"); code != 0 {
				t.Fatal(stderr)
			}
			pretend(t, inst, func(r *daemon.Record) { r.Session = []string{endpoint} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			inst, err := instance.New("", instance.Env{Home: home})
			if err != nil {
				t.Fatal(err)
			}
			arrange(t, home, inst)
			_, stderr, code := rdd(t, home, nil, "svc", "reset")
			if code != 1 || !strings.Contains(stderr, "its objects are kept at http://127.0.0.1:2379, which is for its owner to empty") {
				t.Errorf("exit code %d, %s", code, stderr)
			}
			if _, err := os.Stat(inst.SettingsFile()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeepLogs(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "false": false, "1": true, "true": true, "yes": true} {
		if got := parseEnvironment([]string{"RDD_KEEP_LOGS=" + value}).keepLogs; got != want {
			t.Errorf("RDD_KEEP_LOGS=%s keeps logs: %t, want %t", value, got, want)
		}
	}
}

// TestAControlPlaneThatIsGone has a record of one, but nobody at its address.
func TestAControlPlaneThatIsGone(t *testing.T) {
	p := newPlane(t)
	inst, err := instance.New("", instance.Env{Home: p.home})
	p.must(err)
	config, err := clientcmd.LoadFromFile(inst.Kubeconfig())
	p.must(err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	p.must(err)
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + listener.Addr().String()
	}
	listener.Close()
	p.must(clientcmd.WriteToFile(*config, inst.Kubeconfig()))
	for _, args := range [][]string{{"limavm", "list"}, {"limavm", "start", "dev"}, {"limavm", "events"}, {"ctl", "wait-condition", "limavm/dev", "Running"}} {
		p.want(exitFailed, `^Error: the control plane of instance "2" does not answer \(.*refused.*\); "rdd svc status" tells more\n$`, args...)
	}
}
