package hostagent

import (
	"testing"
	"time"
)

func TestPlaceOfADownload(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		done, total int64
		took        time.Duration
		percent     int
		message     string
	}{
		{0, 100 * mib, 0, 0, "0 of 100 MiB"},
		{5 * mib, 100 * mib, 500 * time.Millisecond, 5, "5 of 100 MiB"}, // too early for a rate
		{25 * mib, 100 * mib, 10 * time.Second, 25, "25 of 100 MiB, 2.5 MiB/s, 30s left"},
		{1 * mib, 3600 * mib, time.Second, 0, "1 of 3600 MiB, 1.0 MiB/s, 59m59s left"},
		{100 * mib, 100 * mib, 10 * time.Second, 100, "100 of 100 MiB, 10.0 MiB/s"},
		{25 * mib, -1, 10 * time.Second, -1, "25 MiB, 2.5 MiB/s"},
		{0, -1, 10 * time.Second, -1, "0 MiB"},
	} {
		if percent, message := place(c.done, c.total, c.took); percent != c.percent || message != c.message {
			t.Errorf("place(%d, %d, %s) = %d, %q, want %d, %q", c.done, c.total, c.took, percent, message, c.percent, c.message)
		}
	}
}
