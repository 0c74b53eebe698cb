package controlplane

import (
	"bytes"
	"net/http"
	"strconv"

	"golang.org/x/time/rate"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// What clients may ask for at most, in requests per second and in a burst: far above what programs need, and well below what makes
// the computer slow. Whoever has no credentials, which is every user of the computer, gets the least, and cannot use up what the
// others have. A token is not yet verified then.
const (
	ownerRate, ownerBurst         = 2000, 4000
	tokenRate, tokenBurst         = 500, 1000
	anonymousRate, anonymousBurst = 20, 100

	// maxBody is the largest request, 3 MiB as in every cluster; objects are at most half of that.
	maxBody = 3 << 20
	// retryAfter is what clients are told to wait, in seconds.
	retryAfter = 1
)

// limits brake clients that ask too much.
type limits struct {
	// admin is the owner's certificate, as it goes over the wire; TLS has made sure that the client has its key.
	admin                   []byte
	owner, token, anonymous *rate.Limiter
}

func newLimits(creds *credentials) *limits {
	return &limits{
		admin: creds.admin.cert.Raw,
		owner: rate.NewLimiter(ownerRate, ownerBurst), token: rate.NewLimiter(tokenRate, tokenBurst),
		anonymous: rate.NewLimiter(anonymousRate, anonymousBurst),
	}
}

// chain is the usual chain of handlers behind the limits. What comes from this process is not limited.
func (l *limits) chain(handler http.Handler, c *genericapiserver.Config) http.Handler {
	usual := genericapiserver.DefaultBuildHandlerChain(handler, c)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, ours := authenticateLoopback(req); !ours && !l.of(req).Allow() {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
			http.Error(w, "too many requests: try again in a second", http.StatusTooManyRequests)
			return
		}
		usual.ServeHTTP(w, req)
	})
}

func (l *limits) of(req *http.Request) *rate.Limiter {
	switch {
	case req.TLS != nil && len(req.TLS.PeerCertificates) > 0 && bytes.Equal(req.TLS.PeerCertificates[0].Raw, l.admin):
		return l.owner
	case req.Header.Get("Authorization") != "":
		return l.token
	}
	return l.anonymous
}
