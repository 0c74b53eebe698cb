package process

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What macOS says of the structures and constants that we use: sizes and offsets in bytes, as a C compiler computes them for
// aarch64-macos and for x86_64-macos, which agree, from the headers of the macOS 13 SDK (<sys/sysctl.h>, <sys/event.h>,
// <sys/proc.h>, <sys/time.h>, <sys/param.h>, <sys/signal.h>, <sys/errno.h>) that Zig 0.11.0 ships. Where Go's own differ, this
// file does not compile, and so `make cross` fails on any machine: an array has another type than one of another length.
var (
	_ [648]struct{} = [unsafe.Sizeof(unix.KinfoProc{})]struct{}{}
	_ [296]struct{} = [unsafe.Sizeof(unix.ExternProc{})]struct{}{}
	_ [0]struct{}   = [unsafe.Offsetof(unix.ExternProc{}.P_starttime)]struct{}{}
	_ [36]struct{}  = [unsafe.Offsetof(unix.ExternProc{}.P_stat)]struct{}{}
	_ [40]struct{}  = [unsafe.Offsetof(unix.ExternProc{}.P_pid)]struct{}{}
	_ [243]struct{} = [unsafe.Offsetof(unix.ExternProc{}.P_comm)]struct{}{}
	_ [17]struct{}  = [unsafe.Sizeof(unix.ExternProc{}.P_comm)]struct{}{}
	_ [296]struct{} = [unsafe.Offsetof(unix.KinfoProc{}.Eproc)]struct{}{}
	_ [560]struct{} = [unsafe.Offsetof(unix.KinfoProc{}.Eproc) + unsafe.Offsetof(unix.Eproc{}.Ppid)]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(unix.Timeval{})]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(unix.Timeval{}.Usec)]struct{}{}
	_ [4]struct{}   = [unsafe.Sizeof(unix.Timeval{}.Usec)]struct{}{}

	_ [32]struct{} = [unsafe.Sizeof(unix.Kevent_t{})]struct{}{}
	_ [8]struct{}  = [unsafe.Offsetof(unix.Kevent_t{}.Filter)]struct{}{}
	_ [10]struct{} = [unsafe.Offsetof(unix.Kevent_t{}.Flags)]struct{}{}
	_ [12]struct{} = [unsafe.Offsetof(unix.Kevent_t{}.Fflags)]struct{}{}
	_ [16]struct{} = [unsafe.Offsetof(unix.Kevent_t{}.Data)]struct{}{}

	_ [4]struct{}          = [stateStopped]struct{}{}      // SSTOP
	_ [5]struct{}          = [stateZombie]struct{}{}       // SZOMB
	_ [5]struct{}          = [-unix.EVFILT_PROC]struct{}{} // (-5)
	_ [10]struct{}         = [-unix.EVFILT_USER]struct{}{} // (-10)
	_ [1]struct{}          = [unix.EV_ADD]struct{}{}       // 0x0001
	_ [0x80000000]struct{} = [unix.NOTE_EXIT]struct{}{}    // 0x80000000
	_ [0x01000000]struct{} = [unix.NOTE_TRIGGER]struct{}{} // 0x01000000
	_ [2]struct{}          = [unix.SIGINT]struct{}{}       // the same as on Linux
	_ [9]struct{}          = [unix.SIGKILL]struct{}{}      // the same as on Linux
	_ [17]struct{}         = [unix.SIGSTOP]struct{}{}      // not so on Linux
	_ [3]struct{}          = [unix.ESRCH]struct{}{}        // the same as on Linux
	_ [5]struct{}          = [unix.EIO]struct{}{}          // the same as on Linux
)
