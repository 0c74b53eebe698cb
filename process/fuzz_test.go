package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"pid":4711,"startTime":123,"bootID":"b"}`))
	f.Add([]byte("4711\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if id, err := parseRecord(content); err == nil && (id.PID <= 0 || id.IsZero()) {
			t.Errorf("%q names the process %+v", content, id)
		}
	})
}

func FuzzLedger(f *testing.F) {
	entries, _ := testEntries(3)
	whole := lines(&header{Version: ledgerVersion, Head: Identity{PID: 7}}, entries)
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add(lines(&header{Version: ledgerVersion, Head: Identity{PID: 7}, before: []Identity{{PID: 6}}}, entries))
	f.Fuzz(func(t *testing.T, content []byte) {
		h, known, err := parseLedger(bytes.NewReader(content))
		if err != nil {
			return
		}
		if h.Head.PID <= 0 {
			t.Errorf("a ledger without a head: %q", content)
		}
		for _, id := range known {
			if id.PID <= 0 {
				t.Errorf("%q names the process %+v", content, id)
			}
		}
		// What a dying writer leaves loses at most its own line.
		torn := append(bytes.TrimRight(content, "\n"), "\n{\"pid\":1"...)
		if _, again, err := parseLedger(bytes.NewReader(torn)); (err != nil && !errors.Is(err, io.EOF)) || len(again) != len(known) {
			t.Errorf("%q: %d entries, and %d after a torn line (%v)", content, len(known), len(again), err)
		}
	})
}

func FuzzVariable(f *testing.F) {
	f.Add([]byte("/bin/sh\x00\x00\x00sh\x00-c\x00K=v\x00"), uint32(2))
	f.Add([]byte("/bin/sh\x00sh\x00K=v\x00HOME=/\x00"), uint32(2))
	f.Fuzz(func(t *testing.T, rest []byte, arguments uint32) {
		raw := append(binary.NativeEndian.AppendUint32(nil, arguments), rest...)
		if hasVariable(raw, "K=v") && !bytes.Contains(rest, []byte("K=v")) {
			t.Errorf("%q is said to hold K=v", raw)
		}
	})
}

func TestVariable(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want bool
	}{
		{"\x02\x00\x00\x00/bin/sh\x00\x00\x00\x00sh\x00-c\x00HOME=/\x00K=v\x00", true},
		{"\x02\x00\x00\x00/bin/sh\x00sh\x00K=v\x00HOME=/\x00", false}, // an argument
		{"\x01\x00\x00\x00/bin/sh\x00sh\x00K=value\x00", false},
		{"\x01\x00\x00\x00/bin/sh\x00sh\x00XK=v\x00", false},
		{"\x01\x00", false},
		{"", false},
	} {
		if got := hasVariable([]byte(c.raw), "K=v"); got != c.want {
			t.Errorf("%q holds K=v: %v", c.raw, got)
		}
	}
}
