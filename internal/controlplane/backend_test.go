package controlplane

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func testBackend(t *testing.T, connector driver.Connector, log *slog.Logger) *backend {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	b, err := openBackend(ctx, &wg, connector, log)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDiskFull fills the store, and compares what it said with what is in it.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), storeFile)
	if _, err := prepareSQLite(path); err != nil {
		t.Fatal(err)
	}
	small, err := sqliteConnector(path, "journal_mode(WAL)", "synchronous(FULL)", "max_page_count(60)")
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	b := testBackend(t, small, slog.New(slog.NewTextHandler(&logged, nil)))
	ctx := t.Context()
	secret := []byte(strings.Repeat("secret", 200))
	acknowledged := map[string]int64{}
	var failure error
	for i := range 500 {
		key := fmt.Sprintf("/registry/secrets/default/s%d", i)
		revision, err := b.Create(ctx, key, secret, 0)
		if err != nil {
			failure = err
			break
		}
		acknowledged[key] = revision
	}
	if failure == nil {
		t.Fatal("the disk does not get full")
	}
	if code := status.Code(failure); code != codes.ResourceExhausted {
		t.Errorf("code %s: %v", code, failure)
	}
	if !errors.Is(failure, context.Canceled) {
		t.Error("kine would log the request")
	}
	for key, revision := range acknowledged {
		_, kv, err := b.Get(ctx, key, 0, false)
		if err != nil || kv == nil || kv.ModRevision != revision {
			t.Errorf("%s was acknowledged: %v, %v", key, kv, err)
		}
	}
	for key, revision := range acknowledged {
		if _, _, updated, err := b.Update(ctx, key, bytes.Repeat(secret, 50), revision, 0); updated || err == nil {
			t.Errorf("update: %v, %v", updated, err)
		}
		break
	}
	if strings.Contains(logged.String(), "secretsecret") || !strings.Contains(logged.String(), "cannot write to the store") {
		t.Errorf("logged:\n%s", logged.String())
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was written")
	}
}

// breaking is a connector whose rows end with an error after the first.
type breaking struct{ driver.Connector }

func (b breaking) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := b.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return breakingConn{conn.(sqliteConn)}, nil
}

type breakingConn struct{ sqliteConn }

func (c breakingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.sqliteConn.QueryContext(ctx, query, args)
	return &breakingRows{Rows: rows}, err
}

type breakingRows struct {
	driver.Rows
	n int
}

var errDisk = errors.New("disk I/O error")

func (r *breakingRows) Next(dest []driver.Value) error {
	if r.n++; r.n > 1 {
		return errDisk
	}
	return r.Rows.Next(dest)
}

func TestReadThatBreaksOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), storeFile)
	sound, err := prepareSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	reported := make(chan error, 1)
	release := make(chan struct{})
	db := sql.OpenDB(guarded{breaking{sound}, newOpenConnections(), func(err error) {
		reported <- err
		<-release
	}})
	defer db.Close()
	got := make(chan error, 1)
	go func() {
		rows, err := db.QueryContext(t.Context(), "SELECT 1 UNION SELECT 2 UNION SELECT 3")
		if err != nil {
			got <- err
			return
		}
		defer rows.Close()
		for rows.Next() { // kine reads them, and does not look at Err
		}
		got <- rows.Err()
	}()
	select {
	case err := <-reported:
		if !errors.Is(err, errDisk) {
			t.Error(err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("not reported")
	}
	select {
	case err := <-got:
		t.Errorf("the reader got an end: %v", err)
	default:
	}
	close(release)
	if err := <-got; !errors.Is(err, errDisk) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestCancelledReadIsNoFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), storeFile)
	sound, err := prepareSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(guarded{sound, newOpenConnections(), func(err error) { t.Errorf("reported: %v", err) }})
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rows, err := db.QueryContext(ctx, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 100000000) SELECT i FROM n")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for i := 0; rows.Next(); i++ {
		if i == 10 {
			cancel()
		}
	}
	if rows.Err() == nil {
		t.Error("it was read to the end")
	}
}

// TestCompaction runs kine's compaction on our dialect, and looks at what remains.
func TestCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), storeFile)
	connector, err := prepareSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	b := testBackend(t, connector, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx := t.Context()
	revision, err := b.Create(ctx, "/registry/x", []byte("0"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		var ok bool
		if revision, _, ok, err = b.Update(ctx, "/registry/x", fmt.Append(nil, i), revision, 0); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	raw := sql.OpenDB(connector)
	defer raw.Close()
	count := func() (n int) {
		t.Helper()
		if err := raw.QueryRow("SELECT COUNT(*) FROM kine WHERE name = '/registry/x'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 51 {
		t.Errorf("%d rows before", n)
	}
	tx, err := b.dialect.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.SetCompactRevision(ctx, revision); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Compact(ctx, 0, revision); err != nil {
		t.Fatal(err)
	}
	tx.MustCommit()
	tx.MustRollback()
	if n := count(); n != 1 {
		t.Errorf("%d rows after", n)
	}
	if err := b.dialect.PostCompact(ctx); err != nil {
		t.Error(err)
	}
	if _, kv, err := b.Get(ctx, "/registry/x", 0, false); err != nil || string(kv.Value) != "49" {
		t.Errorf("%v, %v", kv, err)
	}
	// The writer's place was given back, once.
	if _, _, ok, err := b.Update(ctx, "/registry/x", []byte("last"), revision, 0); err != nil || !ok {
		t.Error(ok, err)
	}
}

type failingTransaction struct{ server.Transaction }

func (failingTransaction) Commit() error   { return errDisk }
func (failingTransaction) Rollback() error { return sql.ErrTxDone }

// TestCompactionThatCannotCommit must come back: kine would end the process.
func TestCompactionThatCannotCommit(t *testing.T) {
	var logged bytes.Buffer
	d := &dialect{log: slog.New(slog.NewTextHandler(&logged, nil)), writing: make(chan struct{}, 1)}
	d.writing <- struct{}{}
	tx := &transaction{Transaction: failingTransaction{}, dialect: d}
	tx.MustCommit()
	tx.MustRollback()
	if len(d.writing) != 0 {
		t.Error("the writer's place is still taken")
	}
	if !strings.Contains(logged.String(), errDisk.Error()) {
		t.Errorf("logged %q", logged.String())
	}
}

// BenchmarkVerify is what the check of the store costs a start, per size of the store.
func BenchmarkVerify(b *testing.B) {
	for _, megabytes := range []int{1, 10} {
		b.Run(fmt.Sprintf("%dMB", megabytes), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), storeFile)
			connector, err := prepareSQLite(path)
			if err != nil {
				b.Fatal(err)
			}
			db := sql.OpenDB(connector)
			for i := range megabytes * 250 {
				_, err := db.Exec("INSERT INTO kine (name, created, prev_revision, value) VALUES (?, 1, 0, randomblob(4000))", fmt.Sprint("/registry/x/", i))
				if err != nil {
					b.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := verify(connector); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
