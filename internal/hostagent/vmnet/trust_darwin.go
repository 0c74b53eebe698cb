package vmnet

import (
	"context"
	"fmt"

	"github.com/lima-vm/lima/v2/pkg/networks"
)

// needed tells whether Lima's VMs use such networks here.
const needed = true

// trust makes sure that what is run as root is what an administrator has installed.
func trust(ctx context.Context, config *networks.Config) error {
	if err := config.Validate(); err != nil {
		return fmt.Errorf("cannot trust networks.yaml: %w", err)
	}
	if err := config.VerifySudoAccess(ctx, config.Paths.Sudoers); err != nil {
		return fmt.Errorf("cannot start networks with sudo: %w", err)
	}
	return nil
}
