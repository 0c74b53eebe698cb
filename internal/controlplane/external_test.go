package controlplane

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func startEtcd(t *testing.T) string {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	local := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = local, local
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = local, local
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		t.Fatal(err)
	case <-time.After(60 * time.Second):
		t.Fatal("etcd is not ready")
	}
	return "http://" + etcd.Clients[0].Addr().String()
}

func TestExternalEtcd(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	cfg.EventTTL = 2 * time.Second
	cfg.DatastoreEndpoint = startEtcd(t)
	s := start(t, cfg)
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
	if _, err := os.Stat(cfg.storePath()); !errors.Is(err, fs.ErrNotExist) {
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
	err := startError(t, cfg)
	if !strings.Contains(err.Error(), cfg.DatastoreEndpoint) || !strings.Contains(err.Error(), "does not answer") {
		t.Error(err)
	}
}
