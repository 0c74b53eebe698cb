package process

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// newLister reads the whole process table at once. A process names the PID that its creator had at that time, for ever: who
// is older than the one that wears that PID now is not its child.
func newLister() (lister, error) {
	table, err := processTable()
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of the machine: %w", err)
	}
	children := map[int][]Identity{}
	for entry := table; entry != nil; entry = next(entry) {
		parent := int(entry.InheritedFromUniqueProcessID)
		id := Identity{PID: int(entry.UniqueProcessID), StartTime: uint64(entry.CreateTime)}
		if id.PID != 0 {
			children[parent] = append(children[parent], id)
		}
	}
	return func(parent Identity) ([]Identity, error) {
		var found []Identity
		for _, child := range children[parent.PID] {
			if child.StartTime >= parent.StartTime {
				found = append(found, child)
			}
		}
		return found, nil
	}, nil
}

// identify tells of whoever wears pid what the process table does, without opening it.
func identify(pid int) (Info, error) {
	table, err := processTable()
	if err != nil {
		return Info{}, fmt.Errorf("cannot list the processes of the machine: %w", err)
	}
	for entry := table; entry != nil; entry = next(entry) {
		if int(entry.UniqueProcessID) == pid {
			return Info{
				Identity: Identity{PID: pid, StartTime: uint64(entry.CreateTime)},
				Name:     programName(entry.ImageName.String()),
				Started:  startedAt(uint64(entry.CreateTime)),
			}, nil
		}
	}
	return Info{}, ErrGone
}

func startedAt(filetime uint64) time.Time {
	t := windows.Filetime{HighDateTime: uint32(filetime >> 32), LowDateTime: uint32(filetime)}
	return time.Unix(0, t.Nanoseconds())
}

func programName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".exe") }

func processTable() (*windows.SYSTEM_PROCESS_INFORMATION, error) {
	for size := uint32(256 << 10); ; size *= 2 {
		buffer := make([]uint64, size/8) // aligned
		err := windows.NtQuerySystemInformation(windows.SystemProcessInformation, pointer(&buffer[0]), size, nil)
		if errors.Is(err, windows.STATUS_INFO_LENGTH_MISMATCH) {
			continue
		}
		return (*windows.SYSTEM_PROCESS_INFORMATION)(pointer(&buffer[0])), err
	}
}

func next(entry *windows.SYSTEM_PROCESS_INFORMATION) *windows.SYSTEM_PROCESS_INFORMATION {
	if entry.NextEntryOffset == 0 {
		return nil
	}
	return (*windows.SYSTEM_PROCESS_INFORMATION)(unsafe.Add(pointer(entry), entry.NextEntryOffset))
}

func pointer[T any](v *T) unsafe.Pointer { return unsafe.Pointer(v) }
