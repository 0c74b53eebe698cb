//go:build unix

package durable

import (
	"errors"
	"os"
	"strings"
)

func rename(from, to string) error { return os.Rename(from, to) }

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// quote has a path match itself as a pattern.
func quote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
