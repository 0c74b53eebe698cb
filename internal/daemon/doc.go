// Package daemon owns the life of the process that serves one rdd instance: the order in which its parts start and stop,
// that there is only one, and how the command line starts, finds and ends it.
//
// An exclusive lock on a file, held for as long as the process lives, makes sure that there is only one. A record next to it
// says who holds the lock: a process identity, never a bare PID, so that nobody is taken for the daemon who is not.
package daemon
