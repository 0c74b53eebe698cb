package doctor

import (
	"context"
	"os"
	"runtime"
)

// rosetta is there once Rosetta is installed.
const rosetta = "/Library/Apple/usr/libexec/oah/libRosettaRuntime"

func platformChecks() []check { return []check{{"Rosetta", checkRosetta}} }

func checkRosetta(context.Context, Config) []Finding {
	if runtime.GOARCH != "arm64" {
		return ok("this Mac needs none")
	}
	if _, err := os.Stat(rosetta); err != nil {
		return []Finding{{
			Status: Warning, Message: "Rosetta is not installed: VMs run no programs made for Intel",
			Remedy: "softwareupdate --install-rosetta",
		}}
	}
	return ok("Rosetta is installed")
}
