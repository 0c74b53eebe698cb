package controlplane

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/query"
	"github.com/k3s-io/kine/pkg/server"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is kine's way to SQLite, with three corrections that an embedded store needs.
type dialect struct {
	*generic.Generic
	log *slog.Logger
	// writing holds the one writer that SQLite allows. Without it, writers queue in SQLite's busy handler, which sleeps.
	writing chan struct{}
	// wake makes the watch look at the latest revision.
	wake func()
}

func newDialect(ctx context.Context, wg *sync.WaitGroup, connector driver.Connector, log *slog.Logger) (*dialect, error) {
	// Each idle connection keeps a page cache. One is the watch's, the others write and list.
	pool := generic.ConnectionPoolConfig{MaxIdle: 4}
	g, err := generic.OpenDB(ctx, wg, "sqlite", connector, pool, "?", false, nil)
	if err != nil {
		return nil, err
	}
	g.LastInsertID = true
	g.GetSizeSQL = query.New(`
		SELECT (page_count - freelist_count) * page_size
		FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()`, "?", false, "GetSize")
	g.CompactSQL = query.New(`
		DELETE FROM kine AS kv
		WHERE kv.id IN (
				SELECT kp.prev_revision AS id
				FROM kine AS kp
				WHERE
					kp.name != 'compact_rev_key' AND
					kp.prev_revision != 0 AND
					kp.id > ? AND
					kp.id <= ?
				UNION ALL
				SELECT kd.id AS id
				FROM kine AS kd
				WHERE
					kd.deleted != 0 AND
					kd.id > ? AND
					kd.id <= ?)`, "?", false, "Compact")
	g.PostCompactSQL = query.New(`PRAGMA wal_checkpoint(FULL)`, "?", false, "PostCompactSQL")
	g.TranslateErr = func(err error) error {
		if sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT {
			return server.ErrKeyExists
		}
		return err
	}
	g.ErrCode = func(err error) string {
		if err == nil {
			return ""
		}
		return fmt.Sprint(sqliteCode(err))
	}
	return &dialect{Generic: g, log: log, writing: make(chan struct{}, 1)}, nil
}

// PrepareAfter is what the watch does with its first notification, instead of looking: so it must get a second one, or the
// first change after a start would show only at the next poll.
func (d *dialect) PrepareAfter(ctx context.Context, limit int64) (*query.Stmt, error) {
	stmt, err := d.Generic.PrepareAfter(ctx, limit)
	if err == nil {
		go d.wake()
	}
	return stmt, err
}

func (d *dialect) BeginTx(ctx context.Context, opts *sql.TxOptions) (server.Transaction, error) {
	select {
	case d.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	tx, err := d.Generic.BeginTx(ctx, opts)
	if err != nil {
		<-d.writing
		return nil, err
	}
	return &transaction{Transaction: tx, dialect: d}, nil
}

// transaction gives the writer's place back when it ends. kine's own Must methods end the process when the disk is full
// during a compaction: here the compaction fails, and is tried again.
type transaction struct {
	server.Transaction
	dialect *dialect
	ended   sync.Once
}

func (t *transaction) end() { t.ended.Do(func() { <-t.dialect.writing }) }

func (t *transaction) Commit() error {
	defer t.end()
	return t.Transaction.Commit()
}

func (t *transaction) Rollback() error {
	defer t.end()
	return t.Transaction.Rollback()
}

func (t *transaction) MustCommit() {
	if err := t.Commit(); err != nil {
		t.dialect.log.Error("cannot commit the compaction of the store", "error", err)
	}
}

func (t *transaction) MustRollback() {
	if err := t.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		t.dialect.log.Error("cannot roll back a transaction of the store", "error", err)
	}
}
