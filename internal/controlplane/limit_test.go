package controlplane

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// TestLimits: who floods the API without credentials, or with wrong ones, is braked, and neither the owner nor a client with a token
// notices. It fails when a wrong token counts as one.
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
	token, err := owner.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	ask := func(authorization string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Address()+"/version", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		response, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") == "" {
			t.Errorf("who comes with %q is not told when to come back", authorization)
		}
		return response.StatusCode
	}
	if code := ask(""); code != http.StatusOK {
		t.Errorf("the first request: %d", code)
	}
	if code := ask("Bearer x"); code != http.StatusUnauthorized {
		t.Errorf("the first request with a wrong token: %d", code)
	}
	for _, authorization := range []string{"Bearer x", ""} {
		asked := 1
		for ask(authorization) != http.StatusTooManyRequests {
			if asked++; asked > 100*anonymousBurst {
				t.Fatalf("%q is never braked", authorization)
			}
		}
		if authorization != "" && asked < anonymousBurst/2 {
			t.Errorf("braked after %d requests", asked)
		}
	}
	if code := ask("Bearer " + token.Status.Token); code != http.StatusOK {
		t.Errorf("who has a token is braked by others: %d", code)
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
	with := func(pairs ...keyPair) *http.Request {
		state := &tls.ConnectionState{}
		for _, pair := range pairs {
			state.PeerCertificates = append(state.PeerCertificates, pair.cert)
		}
		return &http.Request{TLS: state}
	}
	named := func(name string) who {
		return who{response: &authenticator.Response{User: &user.DefaultInfo{Name: name}}, known: true}
	}
	nobody := named(user.Anonymous)
	failed := who{err: errors.New("no such token")}
	for name, c := range map[string]struct {
		req  *http.Request
		is   who
		want *rate.Limiter
	}{
		"the owner":                   {with(creds.admin), named(adminUser), l.owner},
		"another certificate":         {with(creds.serving), failed, l.anonymous},
		"an account":                  {with(), named("system:serviceaccount:default:default"), l.token},
		"a wrong token":               {with(), failed, l.anonymous},
		"nobody":                      {with(), nobody, l.anonymous},
		"nobody, without TLS":         {&http.Request{}, nobody, l.anonymous},
		"who was not even looked for": {with(), who{}, l.anonymous},
	} {
		if l.of(c.req, c.is) != c.want {
			t.Errorf("%s has the limit of others", name)
		}
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
