package controlplane

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startEtcd runs a real etcd server, of test/etcd, until the test ends, and returns its endpoint.
func startEtcd(t *testing.T) string {
	t.Helper()
	build := exec.Command("bash", "-c", "cd ../../test/etcd && . ../../scripts/env && go tool -n server")
	build.Stderr = t.Output()
	path, err := build.Output()
	if err != nil {
		t.Fatalf("cannot build etcd: %v", err)
	}
	const anyPort = "http://127.0.0.1:0"
	etcd := exec.CommandContext(t.Context(), strings.TrimSpace(string(path)), "--data-dir="+t.TempDir(), "--log-format=json",
		"--listen-client-urls="+anyPort, "--advertise-client-urls="+anyPort, "--listen-peer-urls="+anyPort,
		"--initial-advertise-peer-urls="+anyPort, "--initial-cluster=default="+anyPort)
	log, err := etcd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := etcd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		defer close(address)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var line struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && strings.HasPrefix(line.Msg, "serving client traffic") {
				address <- line.Address
				break
			}
		}
		_, _ = io.Copy(io.Discard, log)
	}()
	t.Cleanup(func() { // t.Context has ended it
		<-logged
		_ = etcd.Wait()
	})
	select {
	case serving, ok := <-address:
		if !ok {
			t.Fatal("etcd has ended")
		}
		return "http://" + serving
	case <-time.After(60 * time.Second):
		t.Fatal("etcd is not ready")
	}
	return ""
}

// makeWidget makes one, and sees it made.
func makeWidget(t *testing.T, s *Server) {
	t.Helper()
	w := widgets(t, s).Namespace("default")
	watching, err := w.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Create(t.Context(), widget("one", map[string]any{"size": int64(1)}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	nextEvent(t, watching)
	watching.Stop()
}

func TestExternalEtcd(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	cfg.EventTTL = 2 * time.Second
	cfg.DatastoreEndpoint = startEtcd(t)
	s := start(t, cfg)
	makeWidget(t, s)
	if _, err := os.Stat(cfg.Store); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is an embedded store too: %v", err)
	}
	c := client(t, s)
	createConfigMap(t, c, "default", "kept")
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Error(err)
	}

	stop(t, s)
	s = start(t, cfg)
	if _, err := widgets(t, s).Namespace("default").Get(t.Context(), "one", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := client(t, s).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestExternalEtcdThatDoesNotAnswer(t *testing.T) {
	cfg := testConfig(t)
	cfg.DatastoreEndpoint = "http://127.0.0.1:1"
	before := goroutines(t)
	err := startError(t, cfg)
	if !strings.Contains(err.Error(), "cannot use the datastore at "+cfg.DatastoreEndpoint) {
		t.Error(err)
	}
	expectNoMore(t, before, "client-go/util/workqueue.") // of controllers that have never run: they alone can shut them down
}

// secure has an etcd ask for a password: user "rdd" has the least that a control plane needs. It returns the URL with that login.
func secure(t *testing.T, endpoint, password string) string {
	t.Helper()
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	const role = "store"
	readWrite := clientv3.PermissionType(clientv3.PermReadWrite)
	for _, do := range []func() error{
		func() error { _, err := etcd.UserAdd(t.Context(), "root", "root"); return err },
		func() error { _, err := etcd.UserGrantRole(t.Context(), "root", "root"); return err },
		func() error { _, err := etcd.RoleAdd(t.Context(), role); return err },
		func() error {
			_, err := etcd.RoleGrantPermission(t.Context(), role, keyPrefix+"/", clientv3.GetPrefixRangeEnd(keyPrefix+"/"), readWrite)
			return err
		},
		func() error {
			_, err := etcd.RoleGrantPermission(t.Context(), role, "compact_rev_key", "", readWrite)
			return err
		},
		func() error { _, err := etcd.UserAdd(t.Context(), "rdd", password); return err },
		func() error { _, err := etcd.UserGrantRole(t.Context(), "rdd", role); return err },
		func() error { _, err := etcd.AuthEnable(t.Context()); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	return withLogin(t, endpoint, url.UserPassword("rdd", password))
}

func withLogin(t *testing.T, endpoint string, user *url.Userinfo) string {
	t.Helper()
	parsed, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	parsed.User = user
	return strings.ReplaceAll(parsed.String(), ",", "%2C") // it separates URLs
}

// TestExternalEtcdWithAPassword: what is stored is stored as the user in the URL, and a wrong or missing password is told without
// showing one. It fails when the client is not given the login.
func TestExternalEtcdWithAPassword(t *testing.T) {
	const password = "s@cret, /:?#%"
	endpoint := startEtcd(t)
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	cfg.DatastoreEndpoint = secure(t, endpoint, password)
	s := start(t, cfg)
	makeWidget(t, s)
	stop(t, s)

	for _, login := range []*url.Userinfo{nil, url.UserPassword("rdd", "other-s3cret")} {
		cfg := testConfig(t)
		cfg.DatastoreEndpoint = withLogin(t, endpoint, login)
		err := startError(t, cfg)
		if !strings.Contains(err.Error(), "cannot use the datastore at "+endpoint) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("as %v: %v", login, err)
		}
	}
}

// TestExternalEtcdThatIsNotUnderstood fails when the endpoints are used as they come.
func TestExternalEtcdThatIsNotUnderstood(t *testing.T) {
	cfg := testConfig(t)
	cfg.DatastoreEndpoint = "https://rdd:s3cret,x@127.0.0.1:1"
	if err := startError(t, cfg); strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "cannot use endpoint 1 of the datastore") {
		t.Error(err)
	}
}
