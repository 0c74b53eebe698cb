package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// outside is a client that comes over the network with a token and nothing else.
func outside(t *testing.T, s *Server, token string) *kubernetes.Clientset {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(s.cfg.TLSDir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + s.Address(), BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: ca},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func createToken(t *testing.T, c kubernetes.Interface, req authenticationv1.TokenRequestSpec) string {
	t.Helper()
	token, err := c.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot",
		&authenticationv1.TokenRequest{Spec: req}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

func TestServiceAccountTokens(t *testing.T) {
	cfg := testConfig(t)
	s := start(t, cfg)
	admin := client(t, s)
	robot := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), robot, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token := createToken(t, admin, authenticationv1.TokenRequestSpec{})

	who, err := outside(t, s, token).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "system:serviceaccount:default:robot"; who.Status.UserInfo.Username != want {
		t.Errorf("user %q, want %q", who.Status.UserInfo.Username, want)
	}
	if _, err := outside(t, s, token).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v", err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "robot"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "robot", Namespace: "default"}},
	}
	if _, err := admin.RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role takes effect", func() (bool, error) {
		_, err := outside(t, s, token).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		return err == nil, err
	})
	if _, err := outside(t, s, token).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("outside its namespace: %v", err)
	}

	stop(t, s)
	s = start(t, cfg)
	t.Run("survives a restart, also on another port", func(t *testing.T) {
		if _, err := outside(t, s, token).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("for another audience", func(t *testing.T) {
		other := createToken(t, client(t, s), authenticationv1.TokenRequestSpec{Audiences: []string{"someone-else"}})
		if _, err := outside(t, s, other).Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
			t.Errorf("want Unauthorized, got %v", err)
		}
		review, err := client(t, s).AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: other, Audiences: []string{"someone-else"}},
		}, metav1.CreateOptions{})
		if err != nil || !review.Status.Authenticated {
			t.Errorf("review: %v, %v", review.Status, err)
		}
	})
	t.Run("bound to a secret", func(t *testing.T) {
		admin := client(t, s)
		secret, err := admin.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "leash"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		bound := createToken(t, admin, authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Secret", APIVersion: "v1", Name: secret.Name, UID: secret.UID,
		}})
		if _, err := outside(t, s, bound).Discovery().ServerVersion(); err != nil {
			t.Error(err)
		}
		if err := admin.CoreV1().Secrets("default").Delete(t.Context(), "leash", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := outside(t, s, bound).Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
			t.Errorf("after the secret: want Unauthorized, got %v", err)
		}
	})
	t.Run("dies with its account", func(t *testing.T) {
		if err := client(t, s).CoreV1().ServiceAccounts("default").Delete(t.Context(), "robot", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := outside(t, s, token).Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
			t.Errorf("want Unauthorized, got %v", err)
		}
	})
}

func TestStrangers(t *testing.T) {
	s := start(t, testConfig(t))
	nobody := outside(t, s, "")
	if _, err := nobody.Discovery().ServerVersion(); err != nil {
		t.Errorf("version: %v", err)
	}
	if _, err := nobody.RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context()); err != nil {
		t.Errorf("readyz: %v", err)
	}
	if _, err := nobody.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("secrets: want Forbidden, got %v", err)
	}
	if _, err := nobody.RESTClient().Get().AbsPath("/debug/pprof/").DoRaw(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("pprof: want Forbidden, got %v", err)
	}
	if _, err := outside(t, s, "nonsense").Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
		t.Errorf("bad token: want Unauthorized, got %v", err)
	}
	// A certificate of another authority, with the right names in it.
	now := time.Now()
	dir := t.TempDir()
	foreign, err := loadCredentials(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(foreign.admin.certPEM, foreign.admin.keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, //nolint:gosec // it is the client who is false here
	}}}
	resp, err := c.Get("https://" + s.Address() + "/api/v1/secrets")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("foreign certificate: %s", resp.Status)
	}
}

func TestKubeconfig(t *testing.T) {
	cfg := testConfig(t)
	s := start(t, cfg)
	config, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(s.Address(), "127.0.0.1:") {
		t.Errorf("it listens on %s", s.Address())
	}
	checkPrivate(t, cfg.Kubeconfig, cfg.TLSDir, filepath.Dir(cfg.Store))
}

func TestCertificates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	now := time.Now()
	first, err := loadCredentials(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	load := func(now time.Time) *credentials {
		t.Helper()
		c, err := loadCredentials(dir, now)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(c.ca.cert)
		for _, leaf := range []keyPair{c.serving, c.admin} {
			if _, err := leaf.cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				t.Error(err)
			}
		}
		if !c.serviceAccountKey.Equal(first.serviceAccountKey) {
			t.Error("the service account key changed")
		}
		if !c.ca.key.Equal(first.ca.key) {
			t.Error("the key of the certificate authority changed")
		}
		return c
	}
	again := load(now.Add(time.Hour))
	if !again.serving.cert.Equal(first.serving.cert) || !again.admin.cert.Equal(first.admin.cert) {
		t.Error("certificates changed without need")
	}
	later := load(now.Add(200 * 24 * time.Hour))
	if later.serving.cert.Equal(first.serving.cert) || later.admin.cert.Equal(first.admin.cert) {
		t.Error("certificates were not renewed")
	}
	if !later.ca.cert.Equal(first.ca.cert) {
		t.Error("the authority was renewed without need")
	}
	much := load(now.Add(6 * 365 * 24 * time.Hour))
	if much.ca.cert.Equal(first.ca.cert) {
		t.Error("the authority was not renewed")
	}
	// A clock that was wrong at first.
	load(now.Add(-48 * time.Hour))

	t.Run("damaged", func(t *testing.T) {
		for name, content := range map[string]string{
			"service-account.key": "",
			"ca.key":              "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		} {
			path := filepath.Join(dir, name)
			sound, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := loadCredentials(dir, now); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", name, err)
			}
			if got, _ := os.ReadFile(path); string(got) != content {
				t.Errorf("%s was overwritten", name)
			}
			if err := os.WriteFile(path, sound, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// A certificate can be made again from its key.
		if err := os.WriteFile(filepath.Join(dir, "serving.crt"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		load(now)
	})
	checkPrivate(t, dir)
	for _, name := range []string{"ca.key", "serving.key", "admin.key", "service-account.key"} {
		checkPrivate(t, filepath.Join(dir, name))
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(content); block == nil {
			t.Errorf("%s is not PEM", name)
		}
	}
}
