//go:build unix

package doctor

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// freeSpace is what the user may still write, in bytes.
func freeSpace(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}

func tooOpen(info fs.FileInfo) string {
	if info.Mode().Perm()&0o077 == 0 {
		return ""
	}
	return fmt.Sprintf("is open to others: mode %04o", info.Mode().Perm())
}
