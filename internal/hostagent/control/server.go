package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// Every step of a request has a deadline; only the event stream lasts, and there each write has one.
const (
	requestTimeout = 10 * time.Second
	maxRequest     = 64 << 10
)

// Agent is what the server serves.
type Agent interface {
	// State summarises the journal.
	State() State
	// Stop begins to shut down, or shortens the grace of a stop under way. It returns at once.
	Stop(grace time.Duration)
}

// Server answers on the control socket of one agent.
type Server struct {
	identity Identity
	token    string
	agent    Agent
	journal  *Journal
	http     *http.Server
	ctx      context.Context
	cancel   context.CancelFunc
}

// protocolHeader carries the version that both sides have agreed upon.
const protocolHeader = "Rdd-Protocol"

// NewServer makes the server of one agent, which speaks the given protocols.
func NewServer(speaks Versions, instance string, self process.Identity, token string, agent Agent, journal *Journal) (*Server, error) {
	if token == "" || instance == "" || self.IsZero() {
		return nil, errors.New("cannot serve a control socket without instance, identity and token")
	}
	s := &Server{
		identity: Identity{Speaks: speaks, Instance: instance, Agent: self},
		token:    token, agent: agent, journal: journal,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/identity", s.serveIdentity)
	mux.Handle("GET /v1/state", s.proven(s.serveState))
	mux.Handle("GET /v1/events", s.proven(s.serveEvents))
	mux.Handle("POST /v1/stop", s.proven(s.serveStop))
	s.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: requestTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if err := checkClient(conn); err != nil {
				_ = conn.Close()
			}
			return ctx
		},
	}
	return s, nil
}

// Listen binds the control socket. One that an earlier run left is removed first: the caller is the only agent of its
// instance.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove an old control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the control socket: %w", err)
	}
	// The directory is closed to others already; this is the second lock on the same door.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("cannot protect the control socket: %w", err)
	}
	return listener, nil
}

// Serve answers until Close.
func (s *Server) Serve(listener net.Listener) error {
	err := s.http.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot serve the control socket: %w", err)
}

// Close lets the event streams read the closed journal to its end, within wait, and ends everything.
func (s *Server) Close(wait time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	_ = s.http.Shutdown(ctx)
	s.cancel()
	_ = s.http.Close()
}

func (s *Server) proven(next http.HandlerFunc) http.Handler {
	want := clientProof(s.token, s.identity.Agent)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !sameProof(got, want) {
			http.Error(w, "the request carries no proof of this instance's token", http.StatusUnauthorized)
			return
		}
		asked, err := strconv.Atoi(r.Header.Get(protocolHeader))
		if speaks := s.identity.Speaks; err != nil || asked < speaks.Oldest || asked > speaks.Newest {
			http.Error(w, fmt.Sprintf("this agent speaks protocol %s, not %q", speaks, r.Header.Get(protocolHeader)), http.StatusBadRequest)
			return
		}
		next(w, r)
	})
}

func (s *Server) serveIdentity(w http.ResponseWriter, r *http.Request) {
	nonce := r.URL.Query().Get("nonce")
	if len(nonce) < 16 || len(nonce) > 256 {
		http.Error(w, "nonce must have 16 to 256 characters", http.StatusBadRequest)
		return
	}
	answer := s.identity
	proof, err := serverProof(s.token, nonce, answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer.Proof = proof
	reply(w, http.StatusOK, answer)
}

func (s *Server) serveState(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, s.agent.State())
}

func (s *Server) serveStop(w http.ResponseWriter, r *http.Request) {
	var stop Stop
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout))
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&stop); err != nil {
		http.Error(w, fmt.Sprintf("cannot read the request: %v", err), http.StatusBadRequest)
		return
	}
	if stop.GraceSeconds < 0 {
		http.Error(w, "graceSeconds must not be negative", http.StatusBadRequest)
		return
	}
	s.agent.Stop(stop.Grace())
	w.WriteHeader(http.StatusAccepted)
}

func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	var from int64
	if text := r.URL.Query().Get("from"); text != "" {
		var err error
		if from, err = strconv.ParseInt(text, 10, 64); err != nil || from < 0 || from > s.journal.Size() {
			http.Error(w, fmt.Sprintf("from=%s is no place in this journal", text), http.StatusRequestedRangeNotSatisfiable)
			return
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	_ = control.Flush()
	stream := json.NewEncoder(w)
	// A follower that does not read must not hold memory for ever; it can reconnect at its offset.
	_ = s.journal.Follow(ctx, from, func(entry Entry) error {
		if err := control.SetWriteDeadline(time.Now().Add(requestTimeout)); err != nil {
			return err
		}
		if err := stream.Encode(entry); err != nil {
			return err
		}
		return control.Flush()
	})
}

func reply(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(requestTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text) // the client sees a short answer and says so
}
