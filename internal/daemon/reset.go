package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
)

// Reset empties the datastore of an instance whose daemon has ended, and removes the VMs whose objects were in it. Settings,
// credentials, caches and logs stay. VMs that a dead daemon left running are shut down first. It removes nothing, and returns
// an error, where a daemon lives (which is ErrRunning), where there is a VM that rdd has not made, and where the objects are
// kept by somebody else's datastore. Killed in between, it can be repeated: the objects go last.
func Reset(ctx context.Context, cfg Config) error {
	if err := CheckReset(cfg.Instance, cfg.Settings); err != nil {
		return err
	}
	inst := cfg.Instance
	unlock, there, err := lockLeft(inst)
	if err != nil || !there {
		return err
	}
	err = stopLeftovers(ctx, cfg, (*lima.Driver).Release)
	if err == nil {
		err = removeVMs(inst)
	}
	if err == nil {
		err = removeStore(inst.StoreFile())
	}
	if err != nil {
		err = fmt.Errorf("cannot reset instance %q: %w", inst.Name, err)
	}
	return errors.Join(err, unlock())
}

// CheckReset tells why an instance cannot be reset, for whoever asks before its daemon is stopped.
func CheckReset(inst instance.Instance, settings Settings) error {
	var err error
	if endpoint := settings.DatastoreEndpoint; endpoint != "" {
		err = fmt.Errorf("its objects are kept at %s, which is for its owner to empty", redact(endpoint))
	} else {
		err = refuseForeign(inst)
	}
	if err != nil {
		return fmt.Errorf("cannot reset instance %q: %w", inst.Name, err)
	}
	return nil
}

// redact leaves the passwords out of the URLs of a datastore.
func redact(endpoint string) string {
	var clean []string
	for text := range strings.SplitSeq(endpoint, ",") {
		if parsed, err := url.Parse(text); err == nil {
			clean = append(clean, parsed.Redacted())
		}
	}
	return strings.Join(clean, ",")
}

// Passwords are those in the URLs of a datastore.
func Passwords(endpoint string) (found []string) {
	for text := range strings.SplitSeq(endpoint, ",") {
		parsed, err := url.Parse(text)
		if err != nil || parsed.User == nil {
			continue
		}
		if password, ok := parsed.User.Password(); ok {
			found = append(found, password)
		}
	}
	return found
}

// removeStore removes what lies beside the file ahead of the file itself: a log without its file is taken for a corrupt store.
func removeStore(path string) error {
	beside, err := filepath.Glob(path + "?*")
	if err != nil {
		return err
	}
	return removeAll(append(beside, path)...)
}
