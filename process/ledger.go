package process

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// A ledger is a file of JSON lines that a Container appends to and that anybody can read after its death: a header, and one
// entry for each descendant. A line that is torn or damaged costs that entry and no other. All that can be read from it is
// verified before it is acted upon, so that a bad ledger can lose a process, but cannot betray a stranger.
type ledger struct {
	path    string
	header  header
	file    *os.File // nil when it could not be opened again
	entries int      // in the file
	torn    bool     // the last line may lack its end
}

const (
	ledgerVersion = 1
	maxLine       = 4 << 10  // bytes; longer ones are not ours
	maxLedger     = 16 << 20 // bytes that are read
	maxEntries    = 1000     // in the file, before it is rewritten without the dead
	minMark       = 8        // bytes of a mark, which is written in hexadecimal digits
)

type header struct {
	Version int      `json:"version"`
	Head    Identity `json:"head"`
	Mark    string   `json:"mark,omitempty"`
	// Before is how many descendants the head had already. Their entries follow, and without one of them a member could not be
	// told from a process that was there before.
	Before int `json:"before,omitempty"`
	before []Identity
}

type entry struct {
	Identity
	Name   string `json:"name,omitempty"`   // for people who read the file
	Before bool   `json:"before,omitempty"` // it is no member, and was there before
}

// createLedger replaces what is at path.
func createLedger(path string, h header) (*ledger, error) {
	h.Version = ledgerVersion
	l := &ledger{path: path, header: h}
	return l, l.rewrite(nil)
}

// add appends entries, and returns when they are on disk.
func (l *ledger) add(entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	text := lines(nil, entries)
	if l.torn {
		text = append([]byte("\n"), text...)
	}
	err := l.open()
	if err == nil {
		_, err = l.file.Write(text)
		l.torn = err != nil
	}
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("cannot write the ledger: %w", err)
	}
	l.entries += len(entries)
	return nil
}

func (l *ledger) full() bool { return l.entries >= maxEntries }

// rewrite replaces the file by one with these entries only. If that fails, the file goes on as it was.
func (l *ledger) rewrite(entries []entry) error {
	if l.file != nil {
		_ = l.file.Close() // Windows replaces no open file
		l.file = nil
	}
	err := replace(l.path, lines(&l.header, entries))
	if err == nil {
		l.entries, l.torn = len(entries), false
	}
	if err = errors.Join(err, l.open()); err != nil {
		return fmt.Errorf("cannot write the ledger: %w", err)
	}
	return nil
}

// open opens the file unless it is open. A lack of descriptors passes.
func (l *ledger) open() error {
	if l.file != nil {
		return nil
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		l.file = file
	}
	return err
}

func (l *ledger) close() error { return l.file.Close() }

func lines(h *header, entries []entry) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // writes into memory, of types that always encode
	if h != nil {
		h.Before = len(h.before)
		_ = enc.Encode(h)
		for _, id := range h.before {
			_ = enc.Encode(entry{Identity: id, Before: true})
		}
	}
	for _, e := range entries {
		_ = enc.Encode(e)
	}
	return b.Bytes()
}

func readLedger(path string) (header, []Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return header{}, nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	defer f.Close()
	h, known, err := parseLedger(io.LimitReader(f, maxLedger))
	if err != nil {
		err = fmt.Errorf("cannot read the ledger %s: %w", path, err)
	}
	return h, known, err
}

// parseLedger returns what it could read with ErrDamaged, too, if that names a head.
func parseLedger(r io.Reader) (h header, known []Identity, err error) {
	in := bufio.NewReaderSize(r, maxLine)
	first, err := nextLine(in)
	if err != nil && !errors.Is(err, io.EOF) {
		return header{}, nil, err
	}
	if err := json.Unmarshal(first, &h); err != nil {
		return header{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if h.Head.PID <= 0 {
		return header{}, nil, fmt.Errorf("%w: no head", ErrDamaged)
	}
	if !isMark(h.Mark) {
		h.Mark = ""
		return h, nil, fmt.Errorf("%w: no proper mark", ErrDamaged)
	}
	if h.Version != ledgerVersion {
		return h, nil, fmt.Errorf("%w: unknown version %d", ErrDamaged, h.Version)
	}
	for {
		line, err := nextLine(in)
		if errors.Is(err, io.EOF) && len(h.before) < h.Before {
			return h, known, fmt.Errorf("%w: %d early entries of %d", ErrDamaged, len(h.before), h.Before)
		}
		if errors.Is(err, io.EOF) {
			return h, known, nil
		}
		if err != nil {
			return header{}, nil, err
		}
		var e entry
		switch {
		case json.Unmarshal(line, &e) != nil || e.PID <= 0:
		case e.Before:
			h.before = append(h.before, e.Identity)
		default:
			known = append(known, e.Identity)
		}
	}
}

// isMark tells a mark, or none, from what a damaged header has in its place.
func isMark(mark string) bool {
	token, err := hex.DecodeString(mark)
	return err == nil && (len(token) == 0 || len(token) >= minMark)
}

// nextLine returns the next line that is not too long.
func nextLine(in *bufio.Reader) ([]byte, error) {
	for long := false; ; {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
		case long && err == nil:
			long = false
		case long || (errors.Is(err, io.EOF) && len(line) == 0):
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return line, nil
		default:
			return line, err
		}
	}
}
