package controlplane

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"golang.org/x/time/rate"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// What clients may ask for at most, in requests per second and in a burst: far above what programs need, and well below what makes
// the computer slow. Whoever has no credentials, or wrong ones, which is every user of the computer, gets the least, and cannot use
// up what the others have.
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

// chain is the usual chain of handlers behind the limits. What comes from this process is not limited. Who asks is found out first,
// and once: the usual chain is told.
func (l *limits) chain(handler http.Handler, c *genericapiserver.Config) http.Handler {
	authenticate := c.Authentication.Authenticator
	told := *c
	told.Authentication.Authenticator = authenticator.RequestFunc(toldWho)
	usual := genericapiserver.DefaultBuildHandlerChain(handler, &told)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asking, cancel := context.WithTimeout(req.Context(), c.RequestTimeout)
		defer cancel()
		var is who
		is.response, is.known, is.err = authenticate.AuthenticateRequest(req.WithContext(asking))
		if _, ours := authenticateLoopback(req); !ours && !l.of(req, is).Allow() {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
			http.Error(w, "too many requests: try again in a second", http.StatusTooManyRequests)
			return
		}
		usual.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), whoKey{}, is)))
	})
}

// who is what an authenticator says about a request.
type who struct {
	response *authenticator.Response
	known    bool
	err      error
}

type whoKey struct{}

// toldWho is the authenticator behind the limits.
func toldWho(req *http.Request) (*authenticator.Response, bool, error) {
	is, _ := req.Context().Value(whoKey{}).(who)
	return is.response, is.known, is.err
}

func (l *limits) of(req *http.Request, is who) *rate.Limiter {
	switch {
	case req.TLS != nil && len(req.TLS.PeerCertificates) > 0 && bytes.Equal(req.TLS.PeerCertificates[0].Raw, l.admin):
		return l.owner
	case is.known && is.err == nil && is.response.User.GetName() != user.Anonymous:
		return l.token
	}
	return l.anonymous
}
