// Package durable owns how files change so that a crash at any moment, also of the machine, leaves the old content or the
// new one: a temporary name in the same directory, sync, rename, sync of the directory.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
)

// WriteFile replaces the file at path, or makes it, with the given permissions. When it returns nil the content is on disk; when
// it fails, what was at path is there, or the new content if the very last step failed, in which case a crash of the machine may
// still bring the old one back. No temporary file is left.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	temp, err := WriteTemp(path, content, mode)
	if err != nil {
		return err
	}
	crashpoint.At(crashpoint.FileWritten)
	if err := Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// WriteTemp writes a file beside path, which Sweep finds, and returns its name. Its content is on disk, its name need not be.
func WriteTemp(path string, content []byte, mode fs.FileMode) (string, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	if err == nil {
		err = errors.Join(file.Chmod(mode), file.Sync())
	}
	if err = errors.Join(err, file.Close()); err != nil { // Windows renames closed files only
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// Rename moves a file or a directory within one file system, over a file that has the new name, and returns when that is on
// disk.
func Rename(from, to string) error {
	if err := rename(from, to); err != nil {
		return err
	}
	crashpoint.At(crashpoint.FileRenamed)
	err := SyncDir(filepath.Dir(to))
	if dir := filepath.Dir(from); dir != filepath.Dir(to) {
		err = errors.Join(err, SyncDir(dir))
	}
	return err
}

// SyncDir returns when the names in dir are on disk.
func SyncDir(dir string) error { return syncDir(dir) }

// Sweep removes the temporary files that crashes of WriteFile have left for path. Nobody may be writing it meanwhile.
func Sweep(path string) error {
	left, err := filepath.Glob(filepath.Join(quote(filepath.Dir(path)), "."+quote(filepath.Base(path))+".*.tmp"))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range left {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
