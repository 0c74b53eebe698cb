package hostagent

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlaceOfADownload(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		done, total int64
		took        time.Duration
		percent     int
		message     string
	}{
		{0, 100 * mib, 0, 0, "0 of 100 MiB"},
		{5 * mib, 100 * mib, 500 * time.Millisecond, 5, "5 of 100 MiB"}, // too early for a rate
		{25 * mib, 100 * mib, 10 * time.Second, 25, "25 of 100 MiB, 2.5 MiB/s, 30s left"},
		{1 * mib, 3600 * mib, time.Second, 0, "1 of 3600 MiB, 1.0 MiB/s, 59m59s left"},
		{100 * mib, 100 * mib, 10 * time.Second, 100, "100 of 100 MiB, 10.0 MiB/s"},
		{25 * mib, -1, 10 * time.Second, -1, "25 MiB, 2.5 MiB/s"},
		{0, -1, 10 * time.Second, -1, "0 MiB"},
	} {
		if percent, message := place(c.done, c.total, c.took); percent != c.percent || message != c.message {
			t.Errorf("place(%d, %d, %s) = %d, %q, want %d, %q", c.done, c.total, c.took, percent, message, c.percent, c.message)
		}
	}
}

// mute never answers.
type mute struct{}

func (mute) RoundTrip(request *http.Request) (*http.Response, error) {
	<-request.Context().Done()
	return nil, request.Context().Err()
}

func TestAServerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				request, err := http.NewRequestWithContext(t.Context(), method, "http://example.invalid/image", nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := (&counting{next: mute{}}).RoundTrip(request)
				if err == nil {
					_ = response.Body.Close()
				}
				if !errors.Is(err, errStalled) {
					t.Error(err)
				}
			})
		})
	}
}
