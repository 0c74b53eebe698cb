package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-192657fa/rdd/internal/durable"
)

// ensurePrivateDir makes dir, and makes sure that nobody but its owner gets in.
func ensurePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot create directory: %w", err)
	}
	if err := makePrivate(dir); err != nil {
		return fmt.Errorf("cannot make directory %s private: %w", dir, err)
	}
	return nil
}

// writePrivateFile replaces path, mode 0600, so that a reader and a crash see either the old content or the new one.
func writePrivateFile(path string, content []byte) error {
	if err := durable.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
