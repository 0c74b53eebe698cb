package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

// request asks the daemon to end. It is a file in a directory that the daemon watches: unlike a signal it can say how, it
// reaches a daemon with another console on Windows, and unlike a call of the API it arrives when that hangs.
type request struct {
	// Daemon is who is asked. A request to somebody else is void: it was for one that died before it read it.
	Daemon process.Identity `json:"daemon"`
	// KeepVMs leaves the VMs to the next daemon.
	KeepVMs bool `json:"keepVMs,omitempty"`
}

func requestFile(inst instance.Instance) string { return filepath.Join(inst.RequestsDir(), "end.json") }

// ask writes the request, whole or not at all.
func ask(inst instance.Instance, r request) error {
	content, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot encode the request: %w", err)
	}
	if err := os.MkdirAll(inst.RequestsDir(), 0o700); err != nil {
		return fmt.Errorf("cannot ask the daemon: %w", err)
	}
	return writeFile(requestFile(inst), append(content, '\n'))
}

// readRequest returns the request to a daemon, or nil when there is none.
func readRequest(inst instance.Instance, self process.Identity) *request {
	content, err := os.ReadFile(requestFile(inst))
	var r request
	// Whoever can write here owns the daemon, and could signal it as well: what cannot be read is nobody's request.
	if err != nil || json.Unmarshal(content, &r) != nil || r.Daemon != self {
		return nil
	}
	return &r
}

// withRequests returns a context that ends when ctx does, or when a request to end arrives; end stops the watch. Without a
// watch, which the system may refuse, the daemon is still asked by a signal, and reads the request then.
func withRequests(ctx context.Context, inst instance.Instance, self process.Identity, log *slog.Logger) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(inst.RequestsDir()); err != nil {
			err = errors.Join(err, watcher.Close())
		}
	}
	if err != nil {
		log.Warn("requests are read only after a signal", "error", err)
		return ctx, cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if readRequest(inst, self) != nil { // also one from before the watch began
				cancel()
			}
			select {
			case _, open := <-watcher.Events:
				if !open {
					return
				}
			case err := <-watcher.Errors:
				if err != nil {
					log.Warn("a request may have been missed", "error", err)
				}
			}
		}
	}()
	return ctx, func() {
		cancel()
		_ = watcher.Close()
		<-done
	}
}

// removeRequest is called with the lock held.
func removeRequest(inst instance.Instance) error {
	if err := os.Remove(requestFile(inst)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove a request: %w", err)
	}
	return nil
}
