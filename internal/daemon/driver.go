package daemon

import (
	"path/filepath"

	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
)

// newDriver makes the driver of this instance's VMs, and has it take over those that run.
func newDriver(cfg Config, notify func(name string)) (vm.Driver, error) {
	driver, err := lima.New(lima.Config{
		Home: cfg.Instance.LimaHome(), Executable: cfg.Executable, Env: cfg.Environ,
		GuestAgentDir: filepath.Join(cfg.Instance.CacheDir(), "guestagent"),
		Log:           cfg.Log.With("part", "driver"), Notify: notify,
	})
	if err != nil {
		return nil, err // not driver: a nil *lima.Driver would make an interface that is not nil
	}
	return driver, nil
}
