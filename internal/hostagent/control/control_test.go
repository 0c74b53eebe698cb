package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// scripted is an agent that remembers what it was asked.
type scripted struct {
	mu     sync.Mutex
	state  State
	graces []time.Duration
}

func (a *scripted) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

func (a *scripted) Stop(grace time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.graces = append(a.graces, grace)
}

type fixture struct {
	speaks  Versions
	agent   *scripted
	journal *Journal
	server  *Server
	socket  string
	self    process.Identity
	token   string
}

func serve(t *testing.T) *fixture {
	t.Helper()
	return serveAs(t, Spoken())
}

func serveAs(t *testing.T, speaks Versions) *fixture {
	t.Helper()
	dir := t.TempDir()
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{speaks: speaks, agent: &scripted{}, socket: filepath.Join(dir, "control.sock"), self: self, token: NewToken()}
	if f.journal, err = CreateJournal(filepath.Join(dir, "ha.stdout.log")); err != nil {
		t.Fatal(err)
	}
	if f.server, err = NewServer(speaks, "one", self, f.token, f.agent, f.journal); err != nil {
		t.Fatal(err)
	}
	listener, err := Listen(f.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(listener) }()
	t.Cleanup(func() {
		_ = f.journal.Close()
		f.server.Close(time.Second)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) dial(t *testing.T) *Client {
	t.Helper()
	client, err := Dial(t.Context(), f.socket, "one", f.self, f.token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestStateAndStop(t *testing.T) {
	f := serve(t)
	f.agent.state = State{Phase: Running, SSHPort: 60022, Errors: []string{"no mounts"}, Offset: 7}
	client := f.dial(t)
	state, err := client.State(t.Context())
	if err != nil || state.Phase != Running || state.SSHPort != 60022 || state.Offset != 7 || len(state.Errors) != 1 {
		t.Fatalf("state %+v, %v", state, err)
	}
	for _, grace := range []time.Duration{30 * time.Second, 0} {
		if err := client.Stop(t.Context(), grace); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.agent.graces) != 2 || f.agent.graces[0] != 30*time.Second || f.agent.graces[1] != 0 {
		t.Errorf("the agent was given %v", f.agent.graces)
	}
	if err := client.Stop(t.Context(), -time.Second); err == nil {
		t.Error("a negative grace was taken")
	}
}

func TestSocketIsClosedToOthers(t *testing.T) {
	f := serve(t)
	info, err := os.Stat(f.socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the socket has mode %o", mode)
	}
}

func TestOnlyTheRightAgentIsTrusted(t *testing.T) {
	f := serve(t)
	other := f.self
	other.StartTime++
	for what, dial := range map[string]func() (*Client, error){
		"another token":    func() (*Client, error) { return Dial(t.Context(), f.socket, "one", f.self, NewToken()) },
		"another instance": func() (*Client, error) { return Dial(t.Context(), f.socket, "two", f.self, f.token) },
		"another identity": func() (*Client, error) { return Dial(t.Context(), f.socket, "one", other, f.token) },
	} {
		if _, err := dial(); !errors.Is(err, ErrNotOurs) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		a, b Versions
		want int // 0: none
	}{
		{Versions{1, 1}, Versions{1, 1}, 1}, {Versions{1, 3}, Versions{2, 5}, 3}, {Versions{2, 5}, Versions{1, 3}, 3},
		{Versions{1, 2}, Versions{3, 9}, 0}, {Versions{3, 9}, Versions{1, 2}, 0}, {Versions{1, 2}, Versions{}, 0},
	} {
		got, err := c.a.Agree(c.b)
		if got != c.want || errors.Is(err, ErrIncompatible) != (c.want == 0) {
			t.Errorf("%s with %s: %d, %v", c.a, c.b, got, err)
		}
	}
	for version := OldestProtocol; version < Protocol; version++ {
		if len(Lacks(version)) == 0 {
			t.Errorf("nothing is told of what an agent of protocol %d lacks", version)
		}
	}
	if lacks := Lacks(Protocol); len(lacks) > 0 {
		t.Errorf("this build lacks %q", lacks)
	}
}

// TestOtherBuilds has agents of older and newer builds prove who they are, which does not depend on what they speak.
func TestOtherBuilds(t *testing.T) {
	older := serveAs(t, Versions{1, 1})
	client := older.dial(t)
	if _, err := client.State(t.Context()); err != nil || client.Protocol() != 1 {
		t.Errorf("an older agent: protocol %d, %v", client.Protocol(), err)
	}
	client.protocol = 2
	if _, err := client.State(t.Context()); err == nil || !strings.Contains(err.Error(), `speaks protocol 1, not "2"`) {
		t.Errorf("an older agent was asked in protocol 2: %v", err)
	}
	newer := serveAs(t, Versions{Protocol + 1, Protocol + 7})
	if _, err := Dial(t.Context(), newer.socket, "one", newer.self, newer.token); !errors.Is(err, ErrIncompatible) || errors.Is(err, ErrNotOurs) {
		t.Errorf("a newer agent: %v", err)
	}
	if _, err := Dial(t.Context(), newer.socket, "one", newer.self, NewToken()); !errors.Is(err, ErrNotOurs) {
		t.Errorf("a stranger that speaks like a newer agent: %v", err)
	}
}

func TestRequestsNeedTheToken(t *testing.T) {
	f := serve(t)
	client := f.dial(t)
	client.token = NewToken()
	if _, err := client.State(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("state: %v", err)
	}
	if err := client.Stop(t.Context(), 0); err == nil {
		t.Error("a stop without proof was taken")
	}
	if len(f.agent.graces) != 0 {
		t.Error("the agent was stopped by a stranger")
	}
}

func TestNonceMustBeFresh(t *testing.T) {
	f := serve(t)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", f.socket)
	}}
	defer transport.CloseIdleConnections()
	for _, nonce := range []string{"", "short", strings.Repeat("x", 257)} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent/v1/identity?nonce="+nonce, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("a nonce of %d characters got %s", len(nonce), response.Status)
		}
	}
}

func TestEventsReplayThenFollow(t *testing.T) {
	f := serve(t)
	note := func(stopping bool) {
		if err := f.journal.Note(Note{Stopping: stopping}); err != nil {
			t.Error(err)
		}
	}
	note(false)
	second := f.journal.Size()
	note(true)
	client := f.dial(t)
	enough := errors.New("enough")
	var offsets []int64
	err := client.Events(t.Context(), 0, func(next int64, event Event) error {
		offsets = append(offsets, next)
		if len(offsets) == 2 {
			note(false) // while the reader is connected
		}
		if len(offsets) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if offsets[0] != second || offsets[2] != f.journal.Size() {
		t.Errorf("offsets %v, the second event begins at %d and the journal ends at %d", offsets, second, f.journal.Size())
	}
	err = client.Events(t.Context(), second, func(_ int64, event Event) error {
		if event.RDD == nil || !event.RDD.Stopping {
			t.Errorf("resumed at the wrong event: %+v", event)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if err := client.Events(t.Context(), f.journal.Size()+1, nil); err == nil {
		t.Error("an offset behind the end was taken")
	}
}

func TestEventsEndWithTheAgent(t *testing.T) {
	f := serve(t)
	client := f.dial(t)
	ended := make(chan error, 1)
	var got []Event
	seen := make(chan struct{}, 2)
	go func() {
		ended <- client.Events(t.Context(), 0, func(_ int64, event Event) error {
			got = append(got, event)
			seen <- struct{}{}
			return nil
		})
	}()
	if err := f.journal.Note(Note{Stopping: true}); err != nil {
		t.Fatal(err)
	}
	<-seen
	if err := f.journal.Note(Note{Done: true}); err != nil {
		t.Fatal(err)
	}
	_ = f.journal.Close()
	f.server.Close(5 * time.Second)
	if err := <-ended; err != nil {
		t.Errorf("the stream of an agent that ended: %v", err)
	}
	if len(got) != 2 || !got[1].RDD.Done {
		t.Errorf("the last event was lost: %+v", got)
	}
}

// TestSilentAgent has a socket that accepts and never answers.
func TestSilentAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, socket, "one", self, NewToken()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dialling a silent agent: %v", err)
	}
}
