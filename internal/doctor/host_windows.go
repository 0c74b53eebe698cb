package doctor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/windows"

	"github.com/seed-192657fa/rdd/internal/probe"
)

// programTime bounds a call of wsl.exe.
const programTime = 10 * time.Second

// freeSpace is what the user may still write, in bytes.
func freeSpace(dir string) (uint64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(path, &free, nil, nil)
	return free, err
}

func platformChecks() []check { return []check{{"WSL", checkWSL}} }

// checkWSL asks WSL how it is. A degraded one hangs for ever.
func checkWSL(ctx context.Context, cfg Config) []Finding {
	program, err := probe.LookPath("wsl.exe", cfg.Env)
	if err != nil {
		return []Finding{{Status: Broken, Message: "WSL is not installed", Remedy: "wsl --install --no-distribution"}}
	}
	result, err := probe.Run(ctx, programTime, cfg.Env, program, "--status")
	switch {
	case err != nil:
		return []Finding{{Status: Broken, Message: fmt.Sprintf("WSL does not answer: %v", err), Remedy: "restart Windows, or its service WSLService"}}
	case result.ExitCode != 0:
		return []Finding{{Status: Broken, Message: "WSL does not work: " + result.Status, Remedy: "wsl --update"}}
	}
	return ok("WSL answers")
}
