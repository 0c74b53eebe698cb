package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/seed-192657fa/rdd/internal/registration"
)

// credentials gets a token of the controllers' own account, and writes it and a kubeconfig that leads to it, for the owner
// only. What it returns always has the newest token.
func (e *external) credentials(ctx context.Context) (*rest.Config, error) {
	e.access = &access{
		obtain: func(ctx context.Context) (string, error) { return registration.Token(ctx, e.owner, group) },
		keep:   func(token string) error { return writeFile(e.cfg.Instance.ControllersToken(group), []byte(token)) },
	}
	if _, err := e.access.renew(ctx, ""); err != nil {
		return nil, err
	}
	const name = "rdd"
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: e.owner.Host, CertificateAuthorityData: e.owner.CAData}
	cfg.AuthInfos[registration.Account(group)] = &clientcmdapi.AuthInfo{TokenFile: e.cfg.Instance.ControllersToken(group)}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: registration.Account(group)}
	cfg.CurrentContext = name
	content, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the kubeconfig of the controllers: %w", err)
	}
	path := e.cfg.Instance.ControllersKubeconfig(group)
	if err := writeFile(path, content); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig of the controllers: %w", err)
	}
	config.QPS = -1 // the API limits what is in flight
	config.UserAgent = "rdd-controllers"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return revocable{next, e.access, e.over} })
	return config, nil
}

// access is the token of the controllers.
type access struct {
	// obtain makes a token, and keep writes it to where others find it.
	obtain func(ctx context.Context) (string, error)
	keep   func(token string) error

	mu    sync.Mutex
	token string
	made  time.Time // by the wall clock, as the token expires by it: the other one stands still while the computer sleeps
}

func (a *access) current() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token
}

// aged tells whether it is time for another token.
func (a *access) aged() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.made) > registration.TokenLife/2
}

// renew gets a token in the place of an old one, unless somebody else has done so.
func (a *access) renew(ctx context.Context, old string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != old {
		return a.token, nil
	}
	token, err := a.obtain(ctx)
	if err != nil {
		return "", err
	}
	a.token, a.made = token, time.Now().Round(0)
	return token, a.keep(token)
}

// heartbeat is how soon controllers that have nothing else to ask notice that their access was revoked.
const heartbeat = 10 * time.Second

// renew keeps the token from expiring, and asks something now and then, as watches that are open are not cut off.
func (e *external) renew(ctx context.Context) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			e.beat(ctx)
		}
	}
}

func (e *external) beat(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if e.access.aged() {
		if _, err := e.access.renew(asking, e.access.current()); err != nil && ctx.Err() == nil {
			e.cfg.Log.Warn("the token of the controllers is not renewed yet", "error", err)
		}
	}
	_, _ = e.registry.Read(asking) // revocable looks at the answer
}

// revocable lets requests in by the newest token. A token that is refused may just have expired while the computer slept, so the
// controllers end only when there is no other one to be had.
type revocable struct {
	next   http.RoundTripper
	access *access
	over   func(error)
}

func (r revocable) RoundTrip(req *http.Request) (*http.Response, error) {
	token := r.access.current()
	response, err := r.next.RoundTrip(bearing(req, token))
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	again := r.again(req, token)
	if again == nil {
		return response, nil
	}
	response.Body.Close()
	response, err = r.next.RoundTrip(again)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		r.over(errors.New("the API refuses a new token too, so the controllers end; the VMs go on"))
	}
	return response, err
}

// again is a refused request with another token, or nil where there is none, or what was sent cannot be sent twice.
func (r revocable) again(req *http.Request, refused string) *http.Request {
	ctx, cancel := context.WithTimeout(req.Context(), askTime)
	defer cancel()
	token, err := r.access.renew(ctx, refused)
	if errors.Is(err, registration.ErrRevoked) {
		r.over(fmt.Errorf("the controllers end, and the VMs go on: %w", err))
	}
	if err != nil {
		return nil
	}
	again := bearing(req, token)
	if req.Body == nil || req.Body == http.NoBody {
		return again
	}
	if req.GetBody == nil {
		return nil
	}
	if again.Body, err = req.GetBody(); err != nil {
		return nil
	}
	return again
}

func bearing(req *http.Request, token string) *http.Request {
	bearer := req.Clone(req.Context())
	bearer.Header.Set("Authorization", "Bearer "+token)
	return bearer
}

// health answers who found this process in the registry. It tells nothing about any VM, since every user of the computer can ask.
func (e *external) health() http.Handler {
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", ok)
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{metrics.Registry, e.metrics}, promhttp.HandlerOpts{}))
	return mux
}
