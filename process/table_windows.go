package process

import (
	"errors"
	"fmt"
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
