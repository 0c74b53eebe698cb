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

// A server that does not answer, or a download that moves no byte, for stallTimeout is called off; tellInterval keeps the daemon from
// being flooded.
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
	watchdog := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	response, err := c.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		watchdog.Stop()
		if errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		}
		cancel(err)
		return nil, err
	}
	if request.Method != http.MethodGet {
		watchdog.Stop()
		response.Body = &closing{ReadCloser: response.Body, closed: func() { cancel(context.Canceled) }}
		return response, nil
	}
	body := &countedBody{
		ReadCloser: response.Body, to: c.to, name: path.Base(request.URL.Path), total: response.ContentLength,
		ctx: ctx, cancel: cancel, watchdog: watchdog, began: time.Now(),
	}
	watchdog.Reset(stallTimeout)
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
	began    time.Time

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
		percent, message := place(b.done, b.total, now.Sub(b.began))
		progress(b.to, "Downloading "+b.name, percent, message)
	}
	return n, err
}

// place tells how far a download is that has taken some time: bytes, rate and, where the size is known (total > 0), percent and
// the time left. The rate is that since the beginning, which jumps less than the latest one.
func place(done, total int64, took time.Duration) (percent int, message string) {
	const mib = 1 << 20
	rate := 0.0
	if took >= time.Second {
		rate = float64(done) / took.Seconds()
	}
	percent, message = -1, fmt.Sprintf("%d MiB", done/mib)
	if total > 0 {
		percent, message = int(min(100, done*100/total)), fmt.Sprintf("%d of %d MiB", done/mib, total/mib)
	}
	if rate > 0 {
		message += fmt.Sprintf(", %.1f MiB/s", rate/mib)
		if total > done {
			left := time.Duration(float64(total-done) / rate * float64(time.Second))
			message += fmt.Sprintf(", %s left", max(time.Second, left.Round(time.Second)))
		}
	}
	return percent, message
}

func (b *countedBody) Close() error {
	b.watchdog.Stop()
	err := b.ReadCloser.Close()
	b.cancel(context.Canceled)
	return err
}
