package hostagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// errOrphaned says that whoever started this child died before it had told what to do, or, for a worker, since then.
var errOrphaned = errors.New("the daemon that started this process is gone")

// readBoot waits for the daemon to say what to do. The daemon does so only when its record of this child is safe on disk,
// so a child that nobody would find again never begins.
func readBoot(from io.Reader, name string) (control.Boot, error) {
	var boot control.Boot
	if err := json.NewDecoder(from).Decode(&boot); err != nil {
		return boot, fmt.Errorf("cannot read what to do: %w: %w", errOrphaned, err)
	}
	if _, err := control.Spoken().Agree(boot.Speaks); err != nil { // the binary was replaced while its daemon runs
		return boot, fmt.Errorf("cannot serve this daemon, which speaks protocol %s, where this program speaks %s: restart the daemon",
			boot.Speaks, control.Spoken())
	}
	if boot.Instance != name {
		return boot, fmt.Errorf("cannot serve instance %q: this process was started for %q", boot.Instance, name)
	}
	return boot, nil
}

// whileParentLives is cancelled when the other end of from is closed: the daemon died, or calls this worker off.
func whileParentLives(ctx context.Context, from io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, from)
		cancel(errOrphaned)
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// dirOf is the place of the instance that boot names.
func dirOf(boot control.Boot) (instancedir.Dir, error) {
	home := os.Getenv("LIMA_HOME") // the interface that Lima itself dictates
	if home == "" {
		return instancedir.Dir{}, errors.New("cannot run without LIMA_HOME")
	}
	return instancedir.Dir{Home: home, Name: boot.Instance}, nil
}

// teller passes notes to the daemon.
type teller interface {
	Note(note control.Note) error
}

// pipe is the teller of workers: JSON lines on an inherited pipe.
type pipe struct {
	mu   sync.Mutex
	file *os.File
}

func openPipe() (*pipe, error) {
	file, err := process.ExtraFile(0)
	if err != nil {
		return nil, fmt.Errorf("cannot report to the daemon: %w", err)
	}
	return &pipe{file: file}, nil
}

func (p *pipe) Note(note control.Note) error {
	text, err := json.Marshal(note)
	if err != nil {
		return fmt.Errorf("cannot encode a note: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("cannot report to the daemon: %w", err)
	}
	return nil
}

// progress tells how far something is. Telling is best effort: the work goes on when it fails, and the loss of the daemon is
// noticed elsewhere.
func progress(to teller, stage string, percent int, message string) {
	_ = to.Note(control.Note{Progress: &vm.Progress{Stage: stage, Percent: percent, Message: message}})
}

// reporting is the frame of every child: why it fails is told through its pipe.
func reporting(do func(to *pipe) error) error {
	to, err := openPipe()
	if err != nil {
		return err
	}
	if err = do(to); err != nil {
		_ = to.Note(control.Note{Failure: oneLine(err)}) // nobody may be left to read it
	}
	return err
}

// task is what a worker does for boot, and tells as it goes.
type task func(ctx context.Context, boot control.Boot, dir instancedir.Dir, to teller) error

// work is the frame of every worker: it reads what to do, does it until done or orphaned, ends what it has started, such as the
// server of an external driver, and tells how it went.
func work(ctx context.Context, name string, do task) error {
	return reporting(func(to *pipe) error {
		if err := attempt(ctx, name, do, to); err != nil {
			return err
		}
		return to.Note(control.Note{Done: true})
	})
}

func attempt(ctx context.Context, name string, do task, to teller) error {
	setUpLima()
	boot, err := readBoot(os.Stdin, name)
	if err != nil {
		return err
	}
	dir, err := dirOf(boot)
	if err != nil {
		return err
	}
	logrus.AddHook(&guard{dir: dir})
	ctx, cancel := whileParentLives(ctx, os.Stdin)
	defer cancel()
	countDownloads(to)
	return errors.Join(do(ctx, boot, dir, to), endDescendants(ctx))
}

// endDescendants ends all that this process has started.
func endDescendants(ctx context.Context) error {
	self, err := process.Self()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	return process.KillTree(ctx, self) // spares the caller
}
