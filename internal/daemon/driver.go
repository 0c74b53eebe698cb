package daemon

import (
	"cmp"
	"path/filepath"

	"github.com/seed-192657fa/rdd/internal/vm/lima"
)

// newDriver makes the driver of this instance's VMs, and has it take over those that run.
func newDriver(cfg Config, notify func(name string)) (*lima.Driver, error) {
	return lima.New(lima.Config{
		Home: cfg.Instance.LimaHome(), Suffix: cfg.Instance.LimaSuffix(), Executable: cmp.Or(cfg.Agents, cfg.Executable), Env: cfg.Environ,
		GuestAgentDir: filepath.Join(cfg.Instance.CacheDir(), "guestagent"),
		Log:           cfg.Log.With("part", "driver"), Notify: notify,
	})
}
