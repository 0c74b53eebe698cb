package daemon

import (
	"errors"
	"fmt"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// Rotate throws away all keys, certificates and tokens of an instance whose daemon has ended; the next one makes them anew, and knows
// none of the old ones. It does nothing, and returns an error that is ErrRunning, where a daemon lives. Killed in between, what is
// left is completed by the next daemon: run again, it replaces all.
func Rotate(inst instance.Instance) error {
	unlock, err := lock(inst)
	if err != nil {
		return err
	}
	err = removeAll(inst.TLSDir(), inst.Kubeconfig(), inst.ControllersToken(group), inst.ControllersKubeconfig(group))
	if err != nil {
		err = fmt.Errorf("cannot rotate the credentials of instance %q: %w", inst.Name, err)
	}
	return errors.Join(err, unlock())
}
