package control

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/process"
)

// callTimeout bounds each request that is not a stream: an agent that accepts and never answers costs this much, once.
const callTimeout = 5 * time.Second

// ErrNotOurs means that whoever answers cannot prove to be the agent that was asked for.
var ErrNotOurs = errors.New("the agent cannot prove who it is")

// Client talks to one agent.
type Client struct {
	instance string
	agent    process.Identity
	token    string
	protocol int // that both sides speak; 0 until it is agreed upon
	http     *http.Client
}

// Dial connects to the agent at socket and has it prove its identity. The error matches ErrNotOurs where it cannot, and
// ErrIncompatible where it has, and speaks no protocol of ours.
func Dial(ctx context.Context, socket, instance string, agent process.Identity, token string) (*Client, error) {
	c := &Client{instance: instance, agent: agent, token: token}
	c.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, err
			}
			if err := checkServer(conn, agent.PID); err != nil {
				_ = conn.Close()
				return nil, err
			}
			return conn, nil
		},
	}}
	if err := c.handshake(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close lets go of the agent.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) handshake(ctx context.Context) error {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails
	nonce := hex.EncodeToString(random)
	var got Identity
	if err := c.call(ctx, http.MethodGet, "/v1/identity?nonce="+nonce, nil, &got, false); err != nil {
		return err
	}
	want, err := serverProof(c.token, nonce, got)
	if err != nil {
		return err
	}
	if !sameProof(got.Proof, want) || got.Instance != c.instance || got.Agent != c.agent {
		return fmt.Errorf("cannot trust the control socket of %s: %w: it says that it is %s of %q", c.instance, ErrNotOurs, got.Agent, got.Instance)
	}
	if c.protocol, err = Spoken().Agree(got.Speaks); err != nil {
		return fmt.Errorf("cannot talk to the agent of %s: %w", c.instance, err)
	}
	return nil
}

// Protocol is the version that daemon and agent have agreed upon.
func (c *Client) Protocol() int { return c.protocol }

// State asks how far the agent is.
func (c *Client) State(ctx context.Context) (State, error) {
	var state State
	err := c.call(ctx, http.MethodGet, "/v1/state", nil, &state, true)
	return state, err
}

// Stop asks the agent to shut down within grace. It returns when the agent has taken the request.
func (c *Client) Stop(ctx context.Context, grace time.Duration) error {
	return c.call(ctx, http.MethodPost, "/v1/stop", Stop{GraceSeconds: grace.Seconds()}, nil, true)
}

// Events calls on for each event from the offset on, as they come, until on fails, ctx is done or the agent ends the
// stream (then with nil).
func (c *Client) Events(ctx context.Context, from int64, on func(next int64, event Event) error) error {
	response, err := c.send(ctx, http.MethodGet, fmt.Sprintf("/v1/events?from=%d", from), nil, true)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	stream := json.NewDecoder(response.Body)
	for {
		var entry Entry
		if err := stream.Decode(&entry); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("cannot follow the events of %s: %w", c.instance, err)
		}
		var event Event
		if err := json.Unmarshal(entry.Event, &event); err != nil {
			continue // an event of a shape that this build does not know
		}
		if err := on(entry.Next, event); err != nil {
			return err
		}
	}
}

func (c *Client) call(ctx context.Context, method, path string, body, into any, prove bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.send(ctx, method, path, body, prove)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxLine)).Decode(into); err != nil {
		return fmt.Errorf("cannot understand the agent of %s: %w", c.instance, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body any, prove bool) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("cannot encode a request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, content)
	if err != nil {
		return nil, fmt.Errorf("cannot make a request: %w", err)
	}
	if prove {
		request.Header.Set("Authorization", "Bearer "+clientProof(c.token, c.agent))
		request.Header.Set(protocolHeader, strconv.Itoa(c.protocol))
	}
	response, err := c.http.Do(request)
	if err != nil {
		var where *url.Error
		if errors.As(err, &where) {
			err = where.Err // the made-up URL tells nobody anything
		}
		return nil, fmt.Errorf("cannot reach the agent of %s: %w", c.instance, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return nil, fmt.Errorf("the agent of %s refused: %s: %s", c.instance, response.Status, strings.TrimSpace(string(text)))
	}
	return response, nil
}
