package controlplane

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/logstructured"
	"github.com/k3s-io/kine/pkg/logstructured/sqllog"
	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// compactInterval is how much history the store keeps for watches that lag and lists that are read in pages. The latest
	// thousand revisions are kept in any case.
	compactInterval  = 5 * time.Minute
	compactMinRetain = 1000

	// pollInterval only matters for what is not written by this process, which is nothing: our own writes notify.
	pollInterval = 10 * time.Second
)

// backend is kine's, made honest about writes that fail: kine takes the failure of a create for the sign of an existing key,
// finds none, and reports success.
type backend struct {
	*logstructured.LogStructured
	dialect *dialect
	log     *slog.Logger
}

func openBackend(ctx context.Context, wg *sync.WaitGroup, connector driver.Connector, log *slog.Logger) (*backend, error) {
	dialect, err := newDialect(ctx, wg, connector, log)
	if err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	kine := sqllog.New(dialect, wg, &drivers.Config{
		CompactInterval:  compactInterval,
		CompactTimeout:   5 * time.Second,
		CompactMinRetain: compactMinRetain,
		CompactBatchSize: 1000,
		PollInterval:     pollInterval,
		PollBatchSize:    500,
	})
	b := &backend{LogStructured: logstructured.New(noting{kine}), dialect: dialect, log: log}
	dialect.wake = func() { _, _, _ = b.Get(ctx, server.HealthKey, 0, true) }
	if err := b.Start(ctx); err != nil {
		return nil, fmt.Errorf("cannot start the store: %w", err)
	}
	return b, nil
}

func (b *backend) Create(ctx context.Context, key string, value []byte, lease int64) (int64, error) {
	ctx, failure := withNote(ctx)
	revision, err := b.LogStructured.Create(ctx, key, value, lease)
	if *failure != nil {
		return 0, b.failed(key, *failure)
	}
	return revision, err
}

func (b *backend) Update(ctx context.Context, key string, value []byte, revision, lease int64) (int64, *server.KeyValue, bool, error) {
	ctx, failure := withNote(ctx)
	current, kv, updated, err := b.LogStructured.Update(ctx, key, value, revision, lease)
	if *failure != nil {
		return 0, nil, false, b.failed(key, *failure)
	}
	return current, kv, updated, err
}

func (b *backend) Delete(ctx context.Context, key string, revision int64) (int64, *server.KeyValue, bool, error) {
	ctx, failure := withNote(ctx)
	current, kv, deleted, err := b.LogStructured.Delete(ctx, key, revision)
	if *failure != nil {
		return 0, nil, false, b.failed(key, *failure)
	}
	return current, kv, deleted, err
}

func (b *backend) failed(key string, err error) error {
	if !errors.Is(err, context.Canceled) {
		b.log.Error("cannot write to the store", "key", key, "error", err)
	}
	return writeError{err}
}

// writeError is the failure of a write. It claims to be a cancellation because kine logs any other with the whole request,
// and so would log what is in a Secret.
type writeError struct{ error }

func (writeError) Is(target error) bool { return target == context.Canceled }

func (e writeError) GRPCStatus() *status.Status {
	code := codes.Unknown
	switch {
	case sqliteCode(e.error) == sqlite3.SQLITE_FULL:
		code = codes.ResourceExhausted
	case errors.Is(e.error, context.Canceled):
		code = codes.Canceled
	case errors.Is(e.error, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.New(code, "cannot write to the store: "+e.Error())
}

// noting notes how the last write of a call ended.
type noting struct{ logstructured.Log }

type noteKey struct{}

func withNote(ctx context.Context) (context.Context, *error) {
	failure := new(error)
	return context.WithValue(ctx, noteKey{}, failure), failure
}

func (n noting) Append(ctx context.Context, event *server.Event) (int64, error) {
	revision, err := n.Log.Append(ctx, event)
	if failure, ok := ctx.Value(noteKey{}).(*error); ok {
		if *failure = err; errors.Is(err, server.ErrKeyExists) {
			*failure = nil
		}
	}
	return revision, err
}
