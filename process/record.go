package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	recordVersion = 1
	maxRecord     = 4 << 10 // bytes
)

type record struct {
	Version int `json:"version"`
	Identity
}

// WriteRecord writes id into a file at path, which takes the place of a PID file. It replaces what is there, at once and for
// good, and only the owner can read it.
func WriteRecord(path string, id Identity) error {
	content, err := json.Marshal(record{Version: recordVersion, Identity: id})
	if err == nil {
		err = replace(path, append(content, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot write a process record: %w", err)
	}
	return nil
}

// ReadRecord reads what WriteRecord wrote. The process may be gone: only Open tells. The error matches fs.ErrNotExist if
// there is no file.
func ReadRecord(path string) (Identity, error) {
	content, err := readFile(path, maxRecord)
	if err != nil {
		return Identity{}, fmt.Errorf("cannot read a process record: %w", err)
	}
	id, err := parseRecord(content)
	if err != nil {
		return Identity{}, fmt.Errorf("cannot understand the process record %s: %w", path, err)
	}
	return id, nil
}

func parseRecord(content []byte) (Identity, error) {
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return Identity{}, err
	}
	if r.Version != recordVersion || r.PID <= 0 {
		return Identity{}, fmt.Errorf("unknown version %d, or no process", r.Version)
	}
	return r.Identity, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, limit))
	return content, errors.Join(err, f.Close())
}

// replace writes a file whose name appears only when its content is safe on disk. Two callers may not do so at the same time.
func replace(path string, content []byte) error {
	temp := path + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // of a crash, and with unknown permissions
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}
