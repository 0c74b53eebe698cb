package controlplane

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
)

// loopback is an http.RoundTripper that hands requests to the server without a network, TLS or a token.
type loopback struct {
	handler atomic.Pointer[http.Handler]
}

// loopbackHost never reaches a resolver; it only has to be a valid host.
const loopbackHost = "http://loopback.rdd.internal"

// loopbackBuffer is how far the server may run ahead of who reads the response.
const loopbackBuffer = 1 << 20

var errNoServer = errors.New("the API server is not up yet")

func (l *loopback) config() *rest.Config {
	return &rest.Config{
		Host:      loopbackHost,
		Transport: l,
		QPS:       -1, // the limit is for clients that could flood a server of others
	}
}

// loopbackKey marks the context of a request that came this way. Nothing outside this package can set it.
type loopbackKey struct{}

// authenticateLoopback lets this process in as system:masters.
func authenticateLoopback(req *http.Request) (*authenticator.Response, bool) {
	if req.Context().Value(loopbackKey{}) == nil {
		return nil, false
	}
	return &authenticator.Response{User: &user.DefaultInfo{
		Name:   user.APIServerUser,
		Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated},
	}}, true
}

func (l *loopback) RoundTrip(req *http.Request) (*http.Response, error) {
	handler := l.handler.Load()
	if handler == nil {
		return nil, errNoServer
	}
	// The server's context starts empty: the caller's may carry the values of another request that is being served.
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), loopbackKey{}, true))

	served := req.Clone(ctx)
	served.RequestURI = req.URL.RequestURI()
	served.RemoteAddr = "127.0.0.1:0"
	served.Proto, served.ProtoMajor, served.ProtoMinor = "HTTP/2.0", 2, 0
	if served.Host == "" {
		served.Host = req.URL.Host
	}
	if served.Body == nil {
		served.Body = http.NoBody
	}

	w := &loopbackWriter{header: http.Header{}, started: make(chan struct{}), gone: make(chan bool, 1), cancel: cancel}
	w.changed.L = &w.mu
	stop := context.AfterFunc(req.Context(), func() { w.abort(req.Context().Err()) })
	go func() {
		defer func() {
			served.Body.Close()
			w.finish(recover())
			stop()
			cancel()
		}()
		(*handler).ServeHTTP(w, served)
	}()

	select {
	case <-w.started:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	return &http.Response{
		Status:        http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        w.sent,
		Body:          w,
		ContentLength: -1,
		Request:       req,
	}, nil
}

// loopbackWriter is the server's end of a response, and the client's: a buffer with a limit in between.
type loopbackWriter struct {
	header  http.Header
	started chan struct{}
	gone    chan bool
	cancel  context.CancelFunc

	mu      sync.Mutex
	changed sync.Cond
	status  int
	sent    http.Header
	buffer  []byte
	ended   error // what the reader gets after the buffer
	closed  bool  // nobody reads any more: writes fail
}

func (w *loopbackWriter) Header() http.Header { return w.header }

func (w *loopbackWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start(status)
}

func (w *loopbackWriter) start(status int) {
	if w.status != 0 || status < http.StatusOK { // sent already, or merely informational
		return
	}
	w.status = status
	w.sent = w.header.Clone()
	close(w.started)
}

func (w *loopbackWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start(http.StatusOK)
	for len(w.buffer) >= loopbackBuffer && !w.closed {
		w.changed.Wait()
	}
	if w.closed {
		return 0, io.ErrClosedPipe
	}
	w.buffer = append(w.buffer, p...)
	w.changed.Broadcast()
	return len(p), nil
}

// Flush has nothing to do: what is written can be read at once.
func (w *loopbackWriter) Flush() {
	w.WriteHeader(http.StatusOK)
}

// CloseNotify is what the server's filters tell a streaming response by.
func (w *loopbackWriter) CloseNotify() <-chan bool { return w.gone }

func (w *loopbackWriter) finish(panicked any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended != nil {
		return
	}
	w.ended = io.EOF
	if panicked != nil {
		// http.ErrAbortHandler, or what the server's own recovery passed on after it logged it.
		w.ended = io.ErrUnexpectedEOF
		w.start(http.StatusInternalServerError)
	}
	w.start(http.StatusOK)
	w.changed.Broadcast()
}

func (w *loopbackWriter) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buffer) == 0 && w.ended == nil {
		w.changed.Wait()
	}
	if len(w.buffer) == 0 {
		return 0, w.ended
	}
	n := copy(p, w.buffer)
	if w.buffer = w.buffer[n:]; len(w.buffer) == 0 {
		w.buffer = nil
	}
	w.changed.Broadcast()
	return n, nil
}

// Close ends the request, as closing a connection would.
func (w *loopbackWriter) Close() error {
	w.abort(http.ErrBodyReadAfterClose)
	return nil
}

func (w *loopbackWriter) abort(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	w.ended = err
	w.buffer = nil
	w.changed.Broadcast()
	select {
	case w.gone <- true:
	default:
	}
	w.cancel()
}
