package process

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/windows"
)

// enclose puts the caller into a Job Object that kills its processes when its last handle is closed. The caller holds one
// that nobody inherits, and never closes it: its death does. The mark is a part of the job's name.
func enclose(mark string) (string, error) {
	name, err := jobName(mark)
	if err != nil {
		return "", err
	}
	job, err := windows.CreateJobObject(nil, name)
	if err != nil {
		return "", fmt.Errorf("cannot create a Job Object: %w", err)
	}
	limits := &windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	}
	var pin runtime.Pinner // the call takes a number, which does not follow a stack that moves
	pin.Pin(limits)
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(pointer(limits)), uint32(unsafe.Sizeof(*limits)))
	pin.Unpin()
	if err == nil {
		err = windows.AssignProcessToJobObject(job, windows.CurrentProcess())
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("cannot enter a Job Object: %w", err), windows.CloseHandle(job))
	}
	return mark, nil
}

func jobName(mark string) (*uint16, error) {
	return windows.UTF16PtrFromString(`Local\process-` + mark)
}

// marked returns the living processes in the job that is named after mark. There is no such job when its head is dead.
func marked(mark string) ([]Identity, error) {
	name, err := jobName(mark)
	if err != nil {
		return nil, err
	}
	const query = 4 // JOB_OBJECT_QUERY
	handle, _, err := kernel32("OpenJobObjectW").Call(query, 0, uintptr(pointer(name)))
	if handle == 0 {
		if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
			return nil, nil
		}
		return nil, fmt.Errorf("cannot open a Job Object: %w", err)
	}
	job := windows.Handle(handle)
	found, err := processesOf(job)
	return found, errors.Join(err, windows.CloseHandle(job))
}

// processesOf lists the job twice. Between that it opens handles, which keep the PIDs from others: who is found through a
// handle and is on the second list belongs to the job.
func processesOf(job windows.Handle) ([]Identity, error) {
	first, err := jobPIDs(job)
	if err != nil {
		return nil, err
	}
	var found []Identity
	var open []*native
	for _, pid := range first {
		if n, info, err := look(int(pid)); err == nil {
			open = append(open, n)
			found = append(found, info.Identity)
		}
	}
	second, err := jobPIDs(job)
	for _, n := range open {
		_ = n.close()
	}
	return slices.DeleteFunc(found, func(id Identity) bool { return !slices.Contains(second, uintptr(id.PID)) }), err
}

// jobPIDs asks with ever more room for the answer, a JOBOBJECT_BASIC_PROCESS_ID_LIST: two counts of 32 bits, and the PIDs.
func jobPIDs(job windows.Handle) ([]uintptr, error) {
	for room := 64; ; room *= 2 {
		list := make([]uintptr, 8/unsafe.Sizeof(uintptr(0))+uintptr(room))
		counts := (*[2]uint32)(pointer(&list[0]))
		err := windows.QueryInformationJobObject(job, windows.JobObjectBasicProcessIdList, uintptr(pointer(&list[0])),
			uint32(len(list))*uint32(unsafe.Sizeof(list[0])), nil)
		if errors.Is(err, windows.ERROR_MORE_DATA) || (err == nil && counts[0] > counts[1]) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list the processes of a Job Object: %w", err)
		}
		return list[len(list)-room:][:counts[1]], nil
	}
}

func kernel32(name string) *windows.LazyProc {
	return windows.NewLazySystemDLL("kernel32.dll").NewProc(name)
}

// strays returns those members that a walk from the head does not find.
func strays(mark string) ([]Identity, error) { return marked(mark) }

// reapAdopted has nothing to do: Windows knows no zombies.
func reapAdopted(int, func(Identity) bool) {}

// childEnds never sends: Windows does not tell.
func childEnds() (<-chan os.Signal, func()) { return nil, func() {} }
