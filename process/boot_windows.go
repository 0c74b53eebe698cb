package process

import (
	"time"

	"golang.org/x/sys/windows"
)

const (
	systemPID = 4 // that of the kernel's own process, which is as old as the boot
	fileTick  = 100 * time.Nanosecond
	bootSlack = 2 * time.Second // nobody starts within this time of a boot; clocks are corrected by less all the time
)

// ofEarlierBoot takes a process for one of an earlier boot if it has started before this one by two measures: by the clock as it
// went then, which the kernel's own process tells, and as it goes now. A clock that was set since misleads one of them only.
func ofEarlierBoot(id Identity) (bool, error) {
	var now windows.Filetime
	windows.GetSystemTimeAsFileTime(&now)
	boot := (uint64(now.HighDateTime)<<32 | uint64(now.LowDateTime)) - uint64(windows.DurationSinceBoot()/fileTick)
	if system, err := identify(systemPID); err == nil && system.StartTime > 0 {
		boot = min(boot, system.StartTime)
	}
	return id.StartTime+uint64(bootSlack/fileTick) < boot, nil
}
