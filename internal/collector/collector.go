// Package collector owns when Go's garbage collector begins its work: not while the packages that are linked in initialise.
// They allocate 10 MB before main runs, most of which stays; to collect it twice over takes a fifth of the time of a short command.
//
// It imports nothing, so that it comes before what is large. Go initialises the packages that are ready in the order of their paths,
// and runtime/debug would be ready after 300 others, when a collection may have begun.
package collector

import _ "unsafe" // allows go:linkname

const (
	// patient lets the heap grow to 16 MiB before the first collection.
	patient = 400
	// usual is Go's default. Any other value comes from GOGC: somebody wanted it, and it is left alone.
	usual = 100
)

//nolint:gochecknoglobals // before main is the point; written once
var replaced = replace(usual, patient)

// Usual has the collector work as if this package were not there. It is for processes that live long.
func Usual() {
	if replaced {
		setGCPercent(usual)
	}
}

// replace sets the percentage if it is the expected one, and tells whether it was.
func replace(expected, percent int32) bool {
	before := setGCPercent(percent)
	if before != expected {
		setGCPercent(before)
	}
	return before == expected
}

// setGCPercent is all that debug.SetGCPercent calls. A release of Go that does not allow it does not link.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(percent int32) int32
