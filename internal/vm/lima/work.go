package lima

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

const (
	// idleTimeout is how long a worker may tell nothing. A download tells several times a second, a conversion not at all.
	idleTimeout = 15 * time.Minute
	// killTimeout bounds the wait for killed processes to be gone.
	killTimeout = 10 * time.Second
	// drainTimeout bounds the wait for the last notes of a child that has ended.
	drainTimeout = time.Second
)

// childEnd is what is known of a child that has ended.
type childEnd struct {
	status   string   // "exit status 1"; empty when none was started
	log      []string // the last lines
	done     bool     // it said that it did what it was started for
	failure  string   // or why not
	instance *vm.Instance
}

// work runs a worker to its end: "create", "apply" or "delete". The worker dies with ctx, and with this process.
func (s *supervisor) work(ctx context.Context, verb string, template []byte) (childEnd, error) {
	notes := make(chan control.Note)
	child, err := s.spawn(verb, s.dir.WorkerLog(), notes)
	if err != nil {
		return childEnd{}, err
	}
	defer child.stdin.Close()
	crashpoint.At(crashpoint.ChildSpawned)
	rec := s.recorded()
	rec.Child = child.Identity()
	err = s.save(rec)
	crashpoint.At(crashpoint.WorkerRecorded)
	if err == nil {
		_ = s.driver.background(func() { child.boot(control.Boot{Template: template}) })
	} else {
		_ = child.stdin.Close() // without a record it must not begin
	}
	end, err := s.attend(ctx, child, notes, err)
	crashpoint.At(crashpoint.WorkerEnded)
	select {
	case <-child.Done():
		s.mu.Lock()
		s.rec.Child = process.Identity{} // goes to disk with the next step
		s.mu.Unlock()
	default: // it could not be ended, and is to be found by whoever tries again
	}
	return end, err
}

// attend listens to a worker until it has ended. cause, if there is one, is why it must not go on.
func (s *supervisor) attend(ctx context.Context, child *child, notes <-chan control.Note, cause error) (childEnd, error) {
	var end childEnd
	idle := time.NewTimer(idleTimeout)
	defer idle.Stop()
	called, finished := ctx.Done(), child.Done()
	var drained <-chan time.Time
	for finished != nil || notes != nil {
		select {
		case note, ok := <-notes:
			if !ok {
				notes = nil
				continue
			}
			idle.Reset(idleTimeout)
			s.heed(note, &end)
			continue
		case <-finished:
			finished, drained = nil, time.After(drainTimeout)
			continue
		case <-drained: // something else holds the pipe open
			notes = nil
			continue
		case <-idle.C:
			cause = fmt.Errorf("it told nothing for %v", idleTimeout)
		case <-called:
			cause, called = context.Cause(ctx), nil
		}
		if err := child.end(ctx); err != nil {
			return end, errors.Join(cause, err)
		}
	}
	end.status = child.ExitStatus()
	var lastError string
	end.log, lastError = logTail(s.dir.WorkerLog())
	switch {
	case cause != nil:
		return end, cause
	case end.failure != "":
		return end, errors.New(end.failure)
	case !end.done && lastError != "":
		return end, fmt.Errorf("the worker ended early (%s): %s", end.status, lastError)
	case !end.done:
		return end, fmt.Errorf("the worker ended early (%s)", end.status)
	}
	return end, nil
}

// heed takes a note of a worker.
func (s *supervisor) heed(note control.Note, end *childEnd) {
	switch {
	case note.Progress != nil:
		s.set(func() { s.progress = note.Progress })
	case note.Notice != nil:
		s.set(func() { s.notice(*note.Notice) })
	case note.Instance != nil:
		end.instance = note.Instance
	case note.Failure != "":
		end.failure = note.Failure
	case note.Done:
		end.done = true
	}
}

// child is a process of ours that waits to be told what to do.
type child struct {
	*process.Child
	s     *supervisor
	stdin *os.File
}

// spawn starts a child, which waits. Its output goes to the file at log, its notes to the channel, which is closed when no
// more can come.
func (s *supervisor) spawn(verb, log string, notes chan<- control.Note) (*child, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open a log: %w", err)
	}
	defer output.Close()
	input, stdin, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer input.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a pipe: %w", err), stdin.Close())
	}
	defer writer.Close()
	cfg := s.driver.cfg
	started, err := process.Start(process.Command{
		Path: cfg.Executable, Args: []string{cfg.Executable, "hostagent", verb, s.dir.Name},
		Env: environment(cfg, verb), Dir: s.dir.RecordDir(),
		Stdin: input, Stdout: output, Stderr: output, ExtraFiles: []*os.File{writer},
	})
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), reader.Close())
	}
	if err := s.driver.background(func() { readNotes(s.driver.ctx, reader, notes) }); err != nil {
		_ = reader.Close()
		close(notes)
	}
	return &child{Child: started, s: s, stdin: stdin}, nil
}

// boot tells the child what to do. It waits until the child listens, or its pipe is closed.
func (c *child) boot(boot control.Boot) {
	boot.Speaks, boot.Instance = control.Spoken(), c.s.dir.Name
	boot.RecordDir, boot.GuestAgentDir = c.s.dir.RecordDir(), c.s.driver.cfg.GuestAgentDir
	if err := json.NewEncoder(c.stdin).Encode(boot); err != nil {
		c.s.log.Debug("a child did not listen", "err", err) // its end tells why
	}
}

// readNotes passes on what a child tells until its pipe ends.
func readNotes(ctx context.Context, reader *os.File, notes chan<- control.Note) {
	defer close(notes)
	defer reader.Close()
	// The child's end may outlive it in a process that it started; when the driver is closed nobody listens any more.
	stop := context.AfterFunc(ctx, func() { _ = reader.Close() })
	defer stop()
	_, _ = control.ReadEntries(reader, 0, func(entry control.Entry) error {
		var note control.Note
		if err := json.Unmarshal(entry.Event, &note); err != nil {
			return nil //nolint:nilerr // a note of a shape that this build does not know
		}
		select {
		case notes <- note:
			return nil
		case <-ctx.Done():
			return io.EOF
		}
	})
}

// end ends the child and what it has started.
func (c *child) end(ctx context.Context) error {
	_ = c.stdin.Close() // whoever waits to be told shall not begin
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	return process.KillTree(ctx, c.Identity())
}

// environment is that of the child that does verb.
func environment(cfg Config, verb string) []string {
	// Lima takes every answer of wsl.exe for UTF-16.
	set := map[string]string{"LIMA_HOME": cfg.Home, "WSL_UTF8": "0"}
	if verb == "run" {
		// An agent lives long, one for each VM, and most of its memory is allocated before its main runs.
		set["GOGC"], set["GOMAXPROCS"], set["GODEBUG"] = "25", "1", "memprofilerate=0"
	}
	env := slices.DeleteFunc(slices.Clone(cfg.Env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		_, replaced := set[name]
		return replaced
	})
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	return env
}

// endFamily ends whatever still lives of the instance, found by the record and by the ledger.
func (s *supervisor) endFamily(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	if child := s.recorded().Child; !child.IsZero() {
		if err := process.KillTree(ctx, child); err != nil {
			return err
		}
	}
	notice, err := s.dir.EndFamily(ctx)
	if notice != nil {
		s.set(func() { s.notice(*notice) })
	}
	return err
}

func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
