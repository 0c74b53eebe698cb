package controlplane

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/seed-192657fa/rdd/internal/durable"
)

// ErrCorruptStore says that the store is there, but not fit for use. The message tells where it is and how to keep what is in
// it. The files are left as they were found.
var ErrCorruptStore = errors.New("the store is corrupt")

const (
	sqliteMagic = "SQLite format 3\x00"
	walSuffix   = "-wal"
	newSuffix   = ".new"
)

// StoreFiles are all the files of a store at path, which comes last: what lies beside it counts as damage without it. A journal is
// there for a moment, when the first connection has SQLite keep a log instead.
func StoreFiles(path string) []string {
	return []string{path + newSuffix, path + "-journal", path + walSuffix, path + "-shm", path}
}

// tables is kine's (pkg/drivers/sqlite of v0.17.5). Its own driver is not used: with cgo it picks another SQLite library, its
// file names do not work on Windows nor with characters that mean something in a URL, and it retries for five minutes what
// fails at once.
func tables() []string {
	return []string{
		`CREATE TABLE IF NOT EXISTS kine
		(
			id INTEGER PRIMARY KEY AUTOINCREMENT,
			name TEXT,
			created INTEGER,
			deleted INTEGER,
			create_revision INTEGER,
			prev_revision INTEGER,
			lease INTEGER,
			value BLOB,
			old_value BLOB
		)`,
		`CREATE INDEX IF NOT EXISTS kine_name_index ON kine (name)`,
		`CREATE INDEX IF NOT EXISTS kine_name_id_index ON kine (name,id)`,
		`CREATE INDEX IF NOT EXISTS kine_id_deleted_index ON kine (id,deleted)`,
		`CREATE INDEX IF NOT EXISTS kine_prev_revision_index ON kine (prev_revision)`,
		`CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision)`,
		`CREATE INDEX IF NOT EXISTS kine_id_compact_rev_key_with_prev_revision_index ON kine(id, name, prev_revision) WHERE name != 'compact_rev_key' AND prev_revision != 0`,
	}
}

// prepareSQLite makes sure that there is a sound store at path, creating it when there is nothing there, and returns how to
// connect to it.
func prepareSQLite(path string) (driver.Connector, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	exists, err := examine(path)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := createSQLite(path); err != nil {
			return nil, explain(path, err)
		}
	}
	connector, err := sqliteConnector(path, "journal_mode(WAL)", "synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	if err := verify(connector); err != nil {
		return nil, explain(path, err)
	}
	return connector, nil
}

// CheckStore tells what is wrong with the store at path, if there is one. It changes nothing, and nobody may have the store open.
func CheckStore(ctx context.Context, path string) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("cannot open the store: %w", err)
	}
	exists, err := examine(path)
	if err != nil || !exists {
		return err
	}
	options := url.Values{"mode": {"ro"}}
	if wal, err := os.Stat(path + walSuffix); err != nil || wal.Size() == 0 {
		options.Set("immutable", "1") // else SQLite makes files beside it
	}
	connector, err := sqlite.NewConnector(sqliteName(path, options))
	if err != nil {
		return fmt.Errorf("cannot open the store %s: %w", path, err)
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := quickCheck(ctx, db); err != nil {
		return explain(path, err)
	}
	return nil
}

// examine tells whether there is a store, from its first bytes. A store comes into being complete, under its name, so an
// empty file was one once.
func examine(path string) (exists bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if wal, err := os.Stat(path + walSuffix); err == nil && wal.Size() > 0 {
			return false, corrupt(path, errors.New("its log is there, but the file itself is missing"))
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot open the store: %w", err)
	}
	defer f.Close()
	header := make([]byte, len(sqliteMagic))
	if _, err := io.ReadFull(f, header); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, corrupt(path, errors.New("the file is cut short"))
		}
		return true, fmt.Errorf("cannot read the store: %w", err)
	}
	if !bytes.Equal(header, []byte(sqliteMagic)) {
		return true, corrupt(path, errors.New("it is not an SQLite file"))
	}
	return true, nil
}

// createSQLite makes an empty store beside path, and moves it there.
func createSQLite(path string) error {
	tmp := path + newSuffix
	if err := ignoreNotExist(os.Remove(tmp)); err != nil {
		return err
	}
	connector, err := sqliteConnector(tmp, "journal_mode(MEMORY)", "synchronous(FULL)")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	if err := errors.Join(createTables(db), db.Close()); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o600); err != nil {
		return err
	}
	return durable.Rename(tmp, path)
}

// verify reads every page once: a list that ends early at a bad page would look like objects that are gone.
func verify(connector driver.Connector) (err error) {
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := quickCheck(context.Background(), db); err != nil {
		return err
	}
	return createTables(db) // indexes that a later version of kine brings
}

func quickCheck(ctx context.Context, db *sql.DB) error {
	var result string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return damage(result)
	}
	return nil
}

func createTables(db *sql.DB) error {
	for _, stmt := range tables() {
		if _, err := db.Exec(stmt); err != nil {
			return err
		}
	}
	return nil
}

// settleSQLite brings the log into the file, so that the file alone is the store. SQLite does that when the last connection is
// closed, but not when the last two are closed at the same time.
func settleSQLite(connector driver.Connector) error {
	db := sql.OpenDB(connector)
	if err := errors.Join(db.Ping(), db.Close()); err != nil {
		return fmt.Errorf("cannot bring the log of the store into its file: %w", err)
	}
	return nil
}

func sqliteConnector(path string, pragmas ...string) (driver.Connector, error) {
	query := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(30000)"}, pragmas...)}
	connector, err := sqlite.NewConnector(sqliteName(path, query))
	if err != nil {
		return nil, fmt.Errorf("cannot open the store %s: %w", path, err)
	}
	return connector, nil
}

func sqliteName(path string, query url.Values) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") { // C:/…
		slashed = "/" + slashed
	}
	name := url.URL{Scheme: "file", Path: slashed, RawQuery: query.Encode()}
	return name.String()
}

// damage is what quick_check found.
type damage string

func (d damage) Error() string { return string(d) }

// explain tells damage from the other reasons why a store cannot be used.
func explain(path string, err error) error {
	var found damage
	if errors.As(err, &found) {
		return corrupt(path, err)
	}
	switch code := sqliteCode(err); code {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return corrupt(path, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("cannot write to the store %s or its directory: %w", path, err)
	}
	return fmt.Errorf("cannot open the store %s: %w", path, err)
}

// sqliteCode is the primary result code, or 0 for what did not come from SQLite.
func sqliteCode(err error) int {
	var coded *sqlite.Error
	if !errors.As(err, &coded) {
		return 0
	}
	return coded.Code() & 0xff
}

func corrupt(path string, err error) error {
	return fmt.Errorf("%w: %s: %w. Nothing was changed. To keep the data, copy %s* to a safe place and "+
		"recover what can be read with: sqlite3 %s .recover | sqlite3 recovered.db; to start anew, move these files away",
		ErrCorruptStore, path, err, path, path)
}
