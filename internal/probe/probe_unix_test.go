//go:build unix

package probe

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestRunTellsWhatCameOfIt(t *testing.T) {
	result, err := Run(t.Context(), time.Minute, nil, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
	if err != nil || result.Output != "out\nerr\n" || result.ExitCode != 3 {
		t.Errorf("Run: %+v, %v", result, err)
	}
	if _, err := Run(t.Context(), time.Minute, nil, "/no/such/program"); err == nil {
		t.Error("a program that is not there was run")
	}
}

// The program's child would keep a pipe open for an hour.
func TestRunEndsWhatHangs(t *testing.T) {
	_, err := Run(t.Context(), 100*time.Millisecond, nil, "/bin/sh", "-c", "sleep 3600 & sleep 3600")
	if err == nil || !strings.Contains(err.Error(), "hung") {
		t.Errorf("Run: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, time.Minute, nil, "/bin/sh", "-c", "sleep 3600"); err == nil {
		t.Error("Run outlives its context")
	}
}
