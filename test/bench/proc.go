package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// userHZ is the unit of the times in /proc/PID/stat: a hundredth of a second on every Linux that Go runs on.
const userHZ = 100

type memory struct{ resident, anonymous int64 } // bytes

// memoryOf returns how much memory a process has at the moment.
func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	var m memory
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int64{"VmRSS": &m.resident, "RssAnon": &m.anonymous}[name]
		if into == nil {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
		}
		*into = kilobytes << 10
	}
	return m, nil
}

// cpuOf returns how long a process has computed, user and system.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("cannot read the times of process %d: %w", pid, err)
	}
	return parseCPU(string(text))
}

func parseCPU(stat string) (time.Duration, error) {
	// The name in parentheses may hold anything; utime and stime are the 12th and 13th fields after it.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read the times of a process in %q", stat)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read the times of a process in %q: %w", stat, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / userHZ, nil
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }
