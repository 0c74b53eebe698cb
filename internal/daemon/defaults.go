package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// Lima gives the guest's user the name of the host's, and refuses "root". What root runs gets this user instead, unless the
// template names one.
const limaDefaultsOfRoot = `# Written by rdd, because it runs as root. Change it as you like.
user:
  name: lima
  uid: 1000
  home: /home/lima.guest
`

// writeLimaDefaults leaves a file alone that exists.
func writeLimaDefaults(inst instance.Instance) error {
	if os.Geteuid() != 0 {
		return nil
	}
	path := inst.LimaDefaults()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("cannot write Lima's defaults: %w", err)
	}
	return writeFile(path, []byte(limaDefaultsOfRoot))
}
