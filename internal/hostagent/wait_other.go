//go:build !darwin

package hostagent

// waitVM runs the VM until it is down, or until its agent gives up on it.
func waitVM(run func() error, gaveUp <-chan struct{}) error {
	done := make(chan error, 1)
	go func() { done <- run() }()
	select {
	case err := <-done:
		return err
	case <-gaveUp:
		return errStopped
	}
}
