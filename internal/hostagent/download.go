package hostagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"sync"
	"time"
)

// A download that moves no byte for stallTimeout is called off; tellInterval keeps the daemon from being flooded.
const (
	stallTimeout = 90 * time.Second
	tellInterval = 250 * time.Millisecond
)

var errStalled = errors.New("the download has stalled")

// countDownloads makes Lima's downloads tell how far they are. Lima fetches everything with http.DefaultClient and shows
// its own progress on terminals only, so this is the one place to look from. It may only be called in a child.
func countDownloads(to teller) {
	http.DefaultClient.Transport = &counting{next: http.DefaultTransport, to: to}
}

type counting struct {
	next http.RoundTripper
	to   teller
}

func (c *counting) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	response, err := c.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		cancel(err)
		return nil, err
	}
	if request.Method != http.MethodGet {
		response.Body = &closing{ReadCloser: response.Body, closed: func() { cancel(context.Canceled) }}
		return response, nil
	}
	body := &countedBody{
		ReadCloser: response.Body, to: c.to, name: path.Base(request.URL.Path), total: response.ContentLength,
		ctx: ctx, cancel: cancel,
	}
	body.watchdog = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	response.Body = body
	return response, nil
}

type closing struct {
	io.ReadCloser
	closed func()
}

func (c *closing) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

type countedBody struct {
	io.ReadCloser
	to       teller
	name     string
	total    int64 // -1 when the server does not tell
	ctx      context.Context
	cancel   context.CancelCauseFunc
	watchdog *time.Timer

	mu   sync.Mutex
	done int64
	told time.Time
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watchdog.Reset(stallTimeout)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += int64(n)
	if err != nil && errors.Is(context.Cause(b.ctx), errStalled) {
		err = errStalled
	}
	if now := time.Now(); err != nil || now.Sub(b.told) >= tellInterval {
		b.told = now
		percent, message := b.place()
		progress(b.to, "Downloading "+b.name, percent, message)
	}
	return n, err
}

func (b *countedBody) place() (percent int, message string) {
	const mib = 1 << 20
	if b.total <= 0 {
		return -1, fmt.Sprintf("%d MiB", b.done/mib)
	}
	return int(min(100, b.done*100/b.total)), fmt.Sprintf("%d of %d MiB", b.done/mib, b.total/mib)
}

func (b *countedBody) Close() error {
	b.watchdog.Stop()
	err := b.ReadCloser.Close()
	b.cancel(context.Canceled)
	return err
}
