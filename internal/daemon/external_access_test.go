package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/registration"
)

// knows is an API that lets one token in, and repeats what it is sent.
type knows struct {
	token string
	asked []string // which tokens it was shown
}

func (k *knows) RoundTrip(req *http.Request) (*http.Response, error) {
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	k.asked = append(k.asked, token)
	var sent []byte
	if req.Body != nil {
		sent, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	code := http.StatusUnauthorized
	if token == k.token {
		code = http.StatusOK
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader(string(sent)))}, nil
}

// TestRefusedToken fails when a refusal ends the controllers at once.
func TestRefusedToken(t *testing.T) {
	for name, c := range map[string]struct {
		obtain func(context.Context) (string, error)
		code   int
		asked  []string
		ends   string // why, or empty
	}{
		"it has expired": {
			func(context.Context) (string, error) { return "new", nil }, http.StatusOK, []string{"old", "new", "new"}, "",
		},
		"the account is gone": {
			func(context.Context) (string, error) { return "", fmt.Errorf("gone: %w", registration.ErrRevoked) },
			http.StatusUnauthorized, []string{"old", "old"}, "the VMs go on: gone: access is revoked",
		},
		"nobody answers": {
			func(context.Context) (string, error) { return "", errors.New("later") }, http.StatusUnauthorized, []string{"old", "old"}, "",
		},
		"a new one is refused too": {
			func(context.Context) (string, error) { return "strange", nil },
			http.StatusUnauthorized, []string{"old", "strange", "strange", "strange"}, "refuses a new token too",
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := &knows{token: "new"}
			var end error
			r := revocable{api, &access{obtain: c.obtain, keep: func(string) error { return nil }, token: "old"}, func(err error) { end = err }}
			for range 2 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.example", strings.NewReader("sent"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer from a file")
				response, err := r.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != c.code || string(body) != "sent" {
					t.Errorf("%d, %q, want %d", response.StatusCode, body, c.code)
				}
			}
			if !slices.Equal(api.asked, c.asked) {
				t.Errorf("asked with %q, want %q", api.asked, c.asked)
			}
			if (end == nil) != (c.ends == "") || end != nil && !strings.Contains(end.Error(), c.ends) {
				t.Errorf("the controllers end: %v, want %q", end, c.ends)
			}
		})
	}
}

// TestTokenAges fails when the age is that of the monotonic clock, which knows nothing of how long the computer slept.
func TestTokenAges(t *testing.T) {
	kept, obtained := "", 0
	a := &access{
		obtain: func(context.Context) (string, error) { obtained++; return "new", nil },
		keep:   func(token string) error { kept = token; return nil },
	}
	if !a.aged() {
		t.Error("none is as good as a new one")
	}
	for range 2 { // the second one finds that somebody else has renewed it
		if got, err := a.renew(t.Context(), ""); got != "new" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if a.aged() || kept != "new" || obtained != 1 {
		t.Errorf("a new one is old: %t; kept is %q, of %d", a.aged(), kept, obtained)
	}
	if strings.Contains(a.made.String(), "m=") {
		t.Errorf("made at %s", a.made)
	}
	a.made = time.Now().Round(0).Add(-registration.TokenLife)
	if !a.aged() {
		t.Error("an old one is new")
	}
}
