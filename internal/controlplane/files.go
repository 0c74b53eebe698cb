package controlplane

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/seed-192657fa/rdd/internal/durable"
)

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
