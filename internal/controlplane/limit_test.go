package controlplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// TestLimits: who floods the API without credentials, or with wrong ones, is braked, and the owner does not notice.
func TestLimits(t *testing.T) {
	cfg := testConfig(t)
	s := start(t, cfg)
	config, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer stranger.CloseIdleConnections()
	for name, token := range map[string]string{"nobody": "", "a wrong token": "Bearer x"} {
		flood := func(ctx context.Context) int {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.Address()+"/version", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				req.Header.Set("Authorization", token)
			}
			response, err := stranger.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") == "" {
				t.Errorf("%s is not told when to come back", name)
			}
			return response.StatusCode
		}
		if code := flood(t.Context()); code == http.StatusTooManyRequests {
			t.Errorf("%s is braked at the first request", name)
		}
		if token != "" {
			continue // its bucket is larger than a test can empty on a busy machine
		}
		asked := 1
		for flood(t.Context()) != http.StatusTooManyRequests {
			if asked++; asked > 100*anonymousBurst {
				t.Fatalf("%s is never braked", name)
			}
		}
		if asked < anonymousBurst/2 {
			t.Errorf("%s is braked after %d requests", name, asked)
		}
	}
	if _, err := owner.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("the owner is braked by others: %v", err)
	}
}

func TestWhoHasWhichLimit(t *testing.T) {
	creds, err := loadCredentials(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l := newLimits(creds)
	request := func(tlsState *tls.ConnectionState, token string) *http.Request {
		header := http.Header{}
		if token != "" {
			header.Set("Authorization", token)
		}
		return &http.Request{TLS: tlsState, Header: header}
	}
	with := func(pair keyPair) *tls.ConnectionState {
		state := &tls.ConnectionState{}
		state.PeerCertificates = append(state.PeerCertificates, pair.cert)
		return state
	}
	if l.of(request(with(creds.admin), "")) != l.owner {
		t.Error("the owner is not known")
	}
	if l.of(request(with(creds.serving), "")) != l.anonymous {
		t.Error("another certificate is taken for the owner's")
	}
	if l.of(request(&tls.ConnectionState{}, "Bearer x")) != l.token || l.of(request(nil, "")) != l.anonymous {
		t.Error("tokens and nobody are mixed up")
	}
}

// TestTooLarge: a request that is too large is refused, and the connection goes on.
func TestTooLarge(t *testing.T) {
	cfg := testConfig(t)
	s := start(t, cfg)
	client, err := kubernetes.NewForConfig(s.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	large := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "large"}, Data: map[string]string{"x": strings.Repeat("x", maxBody+1)},
	}
	_, err = client.CoreV1().ConfigMaps("default").Create(t.Context(), large, metav1.CreateOptions{})
	if !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("%d bytes: %v", maxBody+1, err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	outside, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	err = outside.CoreV1().RESTClient().Post().AbsPath("/api/v1/namespaces/default/configmaps").
		Body(bytes.Repeat([]byte("{"), maxBody+1)).Do(t.Context()).Error()
	if !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("from outside: %v", err)
	}
	if _, err := outside.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
