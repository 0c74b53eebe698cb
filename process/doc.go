// Package process owns every operating system process that rdd starts or finds: who it is, whether it lives, and how it
// ends. It is a library for any program that supervises others and must not hit the wrong one.
//
// A PID is a number that the operating system gives to somebody else as soon as its wearer is gone. Nothing here acts on a
// bare PID. An [Identity] is a PID together with the kernel's start time of its wearer; [Open] turns it into a [Handle] after
// it has checked the identity behind the open handle, or says who wears the PID now; and only a Handle can be asked
// ([Handle.Interrupt]) or made ([Handle.Kill]) to end. A zombie counts as gone everywhere.
//
// [Start] starts a child in a session of its own whose life is bound to nothing. [KillTree] ends a process and all its
// descendants. [Contain] makes the calling process the head of a [Family], of which nobody gets lost even if the head is
// killed, however often the members fork, and in whatever sessions and groups they are. [WriteRecord] and [ReadRecord] take
// the place of PID files.
//
// # What is promised where
//
// No stranger is signalled:
//
//   - Linux: never. Signals go to a pidfd, whose process has been verified.
//   - Windows: never. A PID is not given away while a handle of it is open.
//   - macOS: there are no signals by handle. The identity is verified, with a kqueue watching, in the system call before the
//     signal: a stranger could be hit only if the process ended and all other PIDs were used up in these microseconds.
//     A parent that has not reaped its child yet has no such window.
//
// Identities are unique:
//
//   - Linux counts start times in ticks of 10 ms: all PIDs would have to be used up within one tick.
//   - macOS counts microseconds and Windows 100 ns, on the clock of the wall: it would have to be set back to that very
//     moment, too. Nothing else here depends on a clock, but one thing: Windows tells children by the PID of a parent that may
//     have died, and a child that seems younger than the present wearer of that PID counts as that one's. Where the clock was
//     set back meanwhile, that can be wrong in [Descendants] and [KillTree]. A Job Object, and so a Family, does not mistake.
//
// No member of a family is left:
//
//   - Linux: all are found by the mark that they are born with, also if the head died first. A process that changes its
//     RLIMIT_LOCKS on purpose loses the mark; it is found as a descendant, or in the ledger.
//   - Windows: a Job Object ends all as soon as the head is gone. Processes that others start on request, such as those of
//     WSL and of services, are no descendants.
//   - macOS: descendants, the ledger, and those whose environment can be read. One that is born in the last moments before
//     its head is killed, and is a program of the system or was given another environment, can be missed.
//
// What cannot be promised anywhere: that a process which hangs in the kernel ends when it is killed. All waits take a
// context for that reason.
//
// # What is needed
//
// Linux 5.3 with /proc; macOS 10.12; Windows 10. No cgo.
package process
