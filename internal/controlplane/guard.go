package controlplane

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// guarded connects to a database whose reads either give all rows or none. kine does not look at the error that a result can
// end with: a list that breaks off in the middle would reach the API as a shorter one, and what is missing in it would be
// taken for deleted. Here, such a read is reported to broken, which does not return while the store is in use.
type guarded struct {
	driver.Connector
	open   *openConnections
	broken func(error)
}

// openConnections tells when the last connection is closed. sql.DB.Close does not wait for those that are in use.
type openConnections struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed while there are none
}

func newOpenConnections() *openConnections {
	c := &openConnections{none: make(chan struct{})}
	close(c.none)
	return c
}

func (c *openConnections) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		c.none = make(chan struct{})
	}
	if c.n += n; c.n == 0 {
		close(c.none)
	}
}

// wait returns false when some are still open after the time.
func (c *openConnections) wait(timeout time.Duration) bool {
	c.mu.Lock()
	none := c.none
	c.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-none:
		return true
	case <-timer.C:
		return false
	}
}

// sqliteConn is what the driver's connections can do that database/sql makes use of.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type sqliteStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func (g guarded) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := g.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := conn.(sqliteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a connection to SQLite is %T, which lacks methods", conn), conn.Close())
	}
	g.open.add(1)
	return guardedConn{full, g.open, g.broken}, nil
}

type guardedConn struct {
	sqliteConn
	open   *openConnections
	broken func(error)
}

func (c guardedConn) Close() error {
	defer c.open.add(-1)
	return c.sqliteConn.Close()
}

func (c guardedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.sqliteConn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return guardedRows{rows, ctx.Err, c.broken}, nil
}

func (c guardedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.sqliteConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	full, ok := stmt.(sqliteStmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a statement of SQLite is %T, which lacks methods", stmt), stmt.Close())
	}
	return guardedStmt{full, c.broken}, nil
}

type guardedStmt struct {
	sqliteStmt
	broken func(error)
}

func (s guardedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.sqliteStmt.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	return guardedRows{rows, ctx.Err, s.broken}, nil
}

type guardedRows struct {
	driver.Rows
	cancelled func() error
	broken    func(error)
}

func (r guardedRows) Next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if err != nil && !errors.Is(err, io.EOF) && r.cancelled() == nil {
		r.broken(err)
	}
	return err
}
