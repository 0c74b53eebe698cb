package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxLine bounds one event; an agent's journal is our own, but a torn or foreign file must not cost all memory.
const maxLine = 1 << 20

// retryPause is between two tries to write what the disk did not take.
const retryPause = time.Second

// Journal is the event log of one run of an agent: JSON lines in a file, which any number of readers follow.
type Journal struct {
	file *os.File

	mu      sync.Mutex
	size    int64
	pending []byte        // lines that the disk did not take yet, and the start of one whose end is to come
	retry   *time.Timer   // set once it did not take any
	changed chan struct{} // closed, and replaced, on every growth
	closed  bool
}

// CreateJournal begins a journal at path; what an earlier run wrote there is gone.
func CreateJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot begin the event journal: %w", err)
	}
	return &Journal{file: file, changed: make(chan struct{})}, nil
}

// Write appends whole lines; the start of a line is kept until the rest comes. It implements io.Writer for Lima. What the disk
// does not take is kept too, and written as soon as it does: the error only tells. Without that, whoever follows would wait for ever
// for an event that has happened.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return 0, os.ErrClosed
	}
	j.pending = append(j.pending, p...)
	return len(p), j.flush()
}

// flush writes the lines that are whole; the lock is held.
func (j *Journal) flush() error {
	end := bytes.LastIndexByte(j.pending, '\n') + 1
	if end == 0 {
		return nil
	}
	if _, err := j.file.WriteAt(j.pending[:end], j.size); err != nil {
		if j.retry == nil {
			j.retry = time.AfterFunc(retryPause, j.flushAgain)
		} else {
			j.retry.Reset(retryPause)
		}
		return fmt.Errorf("cannot append to the event journal: %w", err)
	}
	j.size += int64(end)
	j.pending = bytes.Clone(j.pending[end:])
	close(j.changed)
	j.changed = make(chan struct{})
	return nil
}

func (j *Journal) flushAgain() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		_ = j.flush() // whoever wrote it was told
	}
}

// Note appends an event of rdd's own.
func (j *Journal) Note(note Note) error {
	line, err := json.Marshal(Event{Time: time.Now(), RDD: &note})
	if err != nil {
		return fmt.Errorf("cannot encode an event: %w", err)
	}
	_, err = j.Write(append(line, '\n'))
	return err
}

// Size is the offset behind the last event.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// Follow calls emit for each event from the offset on, waits for more, and returns when emit fails, ctx is done, or the
// journal is closed and read to its end (then with nil).
func (j *Journal) Follow(ctx context.Context, from int64, emit func(Entry) error) error {
	for {
		j.mu.Lock()
		size, changed, closed := j.size, j.changed, j.closed
		j.mu.Unlock()
		if from > size || from < 0 {
			return fmt.Errorf("cannot follow the journal from %d: it ends at %d", from, size)
		}
		if from < size {
			next, err := ReadEntries(io.NewSectionReader(j.file, from, size-from), from, emit)
			if err != nil {
				return err
			}
			from = next
			continue
		}
		if closed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the journal: followers read what is there and return.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	err := j.flush()
	j.closed = true
	close(j.changed)
	return errors.Join(err, j.file.Sync())
}

// ReadEntries calls emit for each whole line of r, which begins at the offset from, and returns the offset behind the last.
// Lines that are no JSON are passed over: Lima prints its events there, and a stray print must not blind the daemon.
func ReadEntries(r io.Reader, from int64, emit func(Entry) error) (int64, error) {
	lines := bufio.NewReaderSize(r, 4096)
	for {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return from, nil // without its end, it is not written yet
		}
		if err != nil {
			return from, fmt.Errorf("cannot read the event journal: %w", err)
		}
		from += int64(len(line))
		if text := bytes.TrimSpace(line); json.Valid(text) {
			if err := emit(Entry{Next: from, Event: text}); err != nil {
				return from, err
			}
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxLine {
			return nil, fmt.Errorf("an event of more than %d bytes", maxLine)
		}
	}
}
