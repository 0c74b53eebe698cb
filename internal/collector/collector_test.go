package collector

import (
	"runtime/debug"
	"testing"
)

func TestUsual(t *testing.T) {
	percent := func() int {
		now := debug.SetGCPercent(-1)
		debug.SetGCPercent(now)
		return now
	}
	if !replaced {
		t.Fatalf("GOGC is %d at the start of the test: it must not be set", percent())
	}
	if got := percent(); got != patient {
		t.Errorf("before main the collector works at %d %%, want %d", got, patient)
	}
	Usual()
	if got := percent(); got != usual {
		t.Errorf("after Usual the collector works at %d %%, want %d", got, usual)
	}
}

func TestReplaceLeavesOthersAlone(t *testing.T) {
	old := debug.SetGCPercent(25)
	defer debug.SetGCPercent(old)
	if replace(usual, patient) {
		t.Error("a percentage that somebody has set counts as the default")
	}
	if got := debug.SetGCPercent(25); got != 25 {
		t.Errorf("a percentage of 25 became %d", got)
	}
}
