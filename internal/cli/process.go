package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	_ "github.com/seed-192657fa/rdd/internal/home" // before Lima's packages initialise
)

// OfProcess is the Config that this process was started with.
func OfProcess(version string, extra []*cobra.Command) (Config, error) {
	executable, err := os.Executable()
	if err != nil {
		return Config{}, fmt.Errorf("cannot tell which program this is: %w", err)
	}
	return Config{
		Args: os.Args, Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Executable: executable, Version: version, Extra: extra,
	}, nil
}
