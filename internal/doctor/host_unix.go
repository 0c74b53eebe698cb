//go:build unix

package doctor

import "golang.org/x/sys/unix"

// freeSpace is what the user may still write, in bytes.
func freeSpace(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}
