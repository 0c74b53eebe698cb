package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// register starts controllers outside the daemon, and waits until the registry or their own words tell how that went.
func (r *rig) controllers(log string) (*process.Child, string) {
	r.Helper()
	path := filepath.Join(r.home, log)
	file, err := os.Create(path)
	if err != nil {
		r.Fatal(err)
	}
	defer file.Close()
	return r.start(file, "controllers", "--group", "lima"), path
}

// holder is the PID that is registered for the controllers of VMs; 0 for nobody.
func (r *rig) holder() int {
	r.Helper()
	var entry struct{ Process process.Identity }
	text := r.must("ctl", "get", "configmap", "rdd-controller-manager", "-n", "rdd-system", "-o", "jsonpath={.data.lima}")
	if text != "" {
		if err := json.Unmarshal([]byte(text), &entry); err != nil {
			r.Fatal(err)
		}
	}
	return entry.Process.PID
}

func (r *rig) awaitHolder(want int) {
	r.Helper()
	for deadline := time.Now().Add(time.Minute); r.holder() != want; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("PID %d is registered, want %d", r.holder(), want)
		}
	}
}

func (r *rig) awaitEnd(child *process.Child) {
	r.Helper()
	select {
	case <-child.Done():
	case <-time.After(time.Minute):
		r.Fatal("the controllers did not end")
	}
}

func TestExternalControllers(t *testing.T) {
	r := newRig(t)
	r.must("svc", "create", "--controllers=-lima")
	r.must("svc", "start")
	if got := r.must("ctl", "get", "configmap", "rdd-controller-manager", "-n", "rdd-system", "-o", `jsonpath={.metadata.annotations.rdd\.rancherdesktop\.io/ready}`); got != "true" {
		t.Errorf("ready is %q", got)
	}
	first, _ := r.controllers("first.log")
	r.awaitHolder(first.Identity().PID)
	second, said := r.controllers("second.log")
	r.awaitEnd(second)
	if text := string(tail(said)); !strings.Contains(text, `controllers of group "lima" already run`) || second.ExitStatus() == "exit status 0" {
		t.Errorf("the second one ended with %s: %s", second.ExitStatus(), text)
	}
	r.kill(first.Identity().PID)
	r.awaitHolder(0)

	third, said := r.controllers("third.log")
	r.awaitHolder(third.Identity().PID)
	account := "system:serviceaccount:rdd-system:lima-controllers"
	for question, want := range map[string]string{
		"patch limavms": "yes", "list secrets": "no", "create serviceaccounts/token": "no", "patch clusterroles": "no", "delete namespaces": "no",
	} {
		args := append([]string{"ctl", "auth", "can-i", "--as=" + account, "-A"}, strings.Fields(question)...)
		if got := strings.TrimSpace(r.run(args...).stdout); got != want {
			t.Errorf("may %s: %q, want %q", question, got, want)
		}
	}
	r.must("svc", "stop")
	r.awaitEnd(third)
	if third.ExitStatus() != "exit status 0" {
		t.Errorf("the controllers ended with %s after svc stop: %s", third.ExitStatus(), tail(said))
	}
}
