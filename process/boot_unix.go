//go:build linux || darwin

package process

func ofEarlierBoot(id Identity) (bool, error) {
	boot, err := bootID()
	return err == nil && id.BootID != boot, err
}
