package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// arguments collects the argument lists of all processes of a rig, until done is called.
func (r *rig) arguments() (done func() string) {
	var seen sync.Map
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			for _, id := range r.processes() {
				if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id.PID)); err == nil {
					seen.Store(string(line), true)
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond): // short-lived processes are what this is about
			}
		}
	}()
	return func() string {
		close(stop)
		<-ended
		var all strings.Builder
		seen.Range(func(line, _ any) bool { fmt.Fprintln(&all, line); return true })
		return all.String()
	}
}

// unpack reads a bundle.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		files[name] = string(content)
	}
}

// TestSecretsStayWhereTheyAre plants secrets wherever a user may have some, and looks for them, and for the instance's own, in argument
// lists, logs of the lowest level, events, and a support bundle.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	r := newRig(t)
	r.env = append(r.env, "RDD_LOG_LEVEL=trace", "MY_API_TOKEN=planted-in-environment")
	planted := []string{"planted-in-a-secret", "planted-in-params", "planted-in-template", "planted-in-a-configmap", "planted-in-environment"}
	arguments := r.arguments()
	r.must("svc", "start")
	guest, err := os.ReadFile(r.guest())
	if err != nil {
		t.Fatal(err)
	}
	r.file("guest.yaml", string(guest)+"\nparam: {API_KEY: \"planted-in-template\", OTHER: \"x\"}\nprovision: [{mode: user, script: \"echo {{.Param.API_KEY}} {{.Param.OTHER}}\"}]\n")
	r.file("objects.yaml", `
{apiVersion: v1, kind: Secret, metadata: {name: mine}, stringData: {login: planted-in-a-secret}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: mine}, data: {password: planted-in-a-configmap}}
---
{apiVersion: lima.rancherdesktop.io/v1alpha1, kind: LimaVM, metadata: {name: dev}, spec: {templateRef: {name: dev}, params: {API_KEY: planted-in-params}}}
`)
	r.must("ctl", "create", "configmap", "dev", "--from-file=template=guest.yaml")
	r.must("ctl", "apply", "-f", "objects.yaml")
	r.must("ctl", "wait", "limavm/dev", "--for=condition=Created", "--timeout=3m")
	r.must("ctl", "create", "serviceaccount", "mine")
	token := strings.TrimSpace(r.must("ctl", "create", "token", "mine"))
	r.must("svc", "restart")
	bundle := strings.TrimSpace(r.must("support-bundle"))
	files := unpack(t, filepath.Join(r.home, bundle))
	ran := arguments()

	own := []string{token}
	for _, name := range []string{"ca.key", "admin.key", "serving.key", "service-account.key"} {
		key, err := os.ReadFile(filepath.Join(strings.TrimSpace(r.must("svc", "paths", "RDD_TLS_DIR")), name))
		if err != nil {
			t.Fatal(err)
		}
		own = append(own, strings.Split(string(key), "\n")[1])
	}
	config, err := clientcmd.Load([]byte(r.must("svc", "config")))
	if err != nil {
		t.Fatal(err)
	}
	own = append(own, strings.Split(string(config.AuthInfos[config.Contexts["rdd"].AuthInfo].ClientKeyData), "\n")[1])
	logs := r.allLogs()
	events := r.must("ctl", "get", "events", "-A", "-o", "yaml")
	for _, secret := range append(own, planted...) {
		for where, text := range map[string]string{"an argument list": ran, "an event": events, "a log": logs} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, where)
			}
		}
		for name, content := range files {
			if strings.Contains(content, secret) {
				t.Errorf("%q is in %s of the bundle", secret, name)
			}
		}
	}
	for _, name := range []string{
		"versions.json", "paths.json", "doctor.json", "settings.json", "objects/limavms.yaml", "objects/configmaps.yaml", "objects/events.yaml", "objects/secrets.yaml",
		"logs/rdd.stderr.log", "vms/_rdd/dev/record.json", "vms/dev/lima.yaml",
	} {
		if files[name] == "" {
			t.Errorf("the bundle has no %s", name)
		}
	}
	if !strings.Contains(files["objects/limavms.yaml"], "API_KEY: REMOVED") || !strings.Contains(files["objects/secrets.yaml"], "login: REMOVED") {
		t.Errorf("what was removed does not show:\n%s", files["objects/limavms.yaml"])
	}
	if !strings.Contains(ran, "svc\x00serve") || !strings.Contains(ran, "hostagent") {
		t.Errorf("the argument lists of the daemon and its children were never seen: %q", ran)
	}
	if info, err := os.Stat(filepath.Join(r.home, bundle)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle: %v, %v", info.Mode(), err)
	}
}

// allLogs are those of the daemon and of the VMs' workers.
func (r *rig) allLogs() string {
	r.Helper()
	var all bytes.Buffer
	for _, pattern := range []string{".local/state/*/*.log", ".rdd*/*/*.log", ".rdd*/_rdd/*/*.log"} {
		paths, err := filepath.Glob(filepath.Join(r.home, pattern))
		if err != nil {
			r.Fatal(err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				r.Fatal(err)
			}
			all.Write(content)
		}
	}
	if all.Len() == 0 {
		r.Error("there are no logs")
	}
	return all.String()
}

// TestRotate: what was given out before is refused, and what is given out afterwards works.
func TestRotate(t *testing.T) {
	r := newRig(t)
	old := r.file("old.kubeconfig", r.must("svc", "config"))
	r.must("ctl", "create", "serviceaccount", "mine")
	token := strings.TrimSpace(r.must("ctl", "create", "token", "mine"))
	pid := r.daemonPID()
	fresh := r.file("new.kubeconfig", r.must("svc", "config", "--rotate"))
	if r.daemonPID() == pid {
		t.Error("the control plane was not restarted")
	}
	if got := r.run("kubectl", "--kubeconfig", fresh, "get", "limavms"); got.code != 0 {
		t.Errorf("the new credentials: %s", got.stderr)
	}
	if got := r.run("kubectl", "--kubeconfig", old, "get", "limavms"); got.code == 0 {
		t.Error("the old credentials still work")
	}
	if got := r.run("kubectl", "--kubeconfig", old, "--insecure-skip-tls-verify", "get", "limavms"); got.code == 0 {
		t.Error("the old certificate still works")
	}
	config, err := clientcmd.LoadFromFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.ClientCertificateData, user.ClientKeyData, user.Token = nil, nil, token
	}
	withToken := filepath.Join(r.home, "token.kubeconfig")
	if err := clientcmd.WriteToFile(*config, withToken); err != nil {
		t.Fatal(err)
	}
	if got := r.run("kubectl", "--kubeconfig", withToken, "auth", "whoami"); got.code == 0 {
		t.Errorf("the old token still works: %s", got.stdout)
	}
	fine := strings.TrimSpace(r.must("ctl", "create", "token", "mine"))
	for _, user := range config.AuthInfos {
		user.Token = fine
	}
	if err := clientcmd.WriteToFile(*config, withToken); err != nil {
		t.Fatal(err)
	}
	if got := r.run("kubectl", "--kubeconfig", withToken, "auth", "whoami"); got.code != 0 || !strings.Contains(got.stdout, "serviceaccount:default:mine") {
		t.Errorf("a new token: %s%s", got.stdout, got.stderr)
	}
}

// TestTooOpen: nothing starts while others can get at the keys, and the command that it names mends that.
func TestTooOpen(t *testing.T) {
	r := newRig(t)
	r.must("svc", "start")
	r.must("svc", "stop")
	key := filepath.Join(strings.TrimSpace(r.must("svc", "paths", "RDD_TLS_DIR")), "ca.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	r.want(1, `ca.key is open to others: mode 0644; "rdd doctor --fix" mends it`, "svc", "start")
	r.want(1, `"rdd doctor --fix" mends it`, "svc", "serve")
	r.run("doctor", "--fix") // which may find this computer wanting otherwise
	r.must("svc", "start")
}
