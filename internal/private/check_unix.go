//go:build unix

package private

import (
	"fmt"
	"io/fs"
	"os"
)

func problem(_ string, info fs.FileInfo) (string, error) {
	if info.Mode().Perm()&0o077 == 0 {
		return "", nil
	}
	return fmt.Sprintf("is open to others: mode %04o", info.Mode().Perm()), nil
}

// Mend shuts others out of what was found to be open to them.
func Mend(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return os.Chmod(path, info.Mode().Perm()&0o700)
}
