// Package private owns what makes a directory its owner's alone: mode 0700, or on Windows, where modes mean nothing, a
// protected access list that names the owner only and that all files in it inherit.
package private

import (
	"fmt"
	"os"
)

// MkdirAll makes dir, with those above it where they are missing, and lets nobody but the owner into dir, also where it
// exists already. It must not be given a directory that others are meant to use.
func MkdirAll(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot create directory: %w", err)
	}
	if err := restrict(dir); err != nil {
		return fmt.Errorf("cannot make directory %s private: %w", dir, err)
	}
	return nil
}
