package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
// only. What it returns reads the token again when that has been renewed.
func (e *external) credentials(ctx context.Context) (*rest.Config, error) {
	if err := e.writeToken(ctx); err != nil {
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
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return revocable{next, e.over} })
	return config, nil
}

func (e *external) writeToken(ctx context.Context) error {
	token, err := registration.Token(ctx, e.owner, group)
	if err != nil {
		return err
	}
	return writeFile(e.cfg.Instance.ControllersToken(group), []byte(token))
}

// heartbeat is how soon controllers that have nothing else to ask notice that their access was revoked.
const heartbeat = 10 * time.Second

// renew keeps the token from expiring, and asks something now and then, as watches that are open are not cut off.
func (e *external) renew(ctx context.Context) {
	beat, expiry := time.NewTicker(heartbeat), time.NewTicker(registration.TokenLife/2)
	defer beat.Stop()
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			asking, cancel := context.WithTimeout(ctx, askTime)
			_, _ = e.registry.Read(asking) // revocable looks at the answer
			cancel()
		case <-expiry.C:
			if err := e.writeToken(ctx); err != nil && ctx.Err() == nil {
				e.over(err)
				return
			}
		}
	}
}

// revocable ends the controllers when the API does not know their token any more.
type revocable struct {
	next http.RoundTripper
	over func(error)
}

func (r revocable) RoundTrip(req *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(req)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		r.over(errors.New("the credentials of the controllers have been revoked, so they end; the VMs go on"))
	}
	return response, err
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
